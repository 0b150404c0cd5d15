"""The first page: what is in the session and what is at rest, its clocks, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from session2.exchange import policy_of, set_cookie_header
from session2.found import Absence

from . import at_rest
from .asked import Answer, Asked, redirect
from .browser import named
from .failing import OnPurpose
from .html import Markup, joined, markup
from .layout import form, hidden, page, token_of
from .session import DemoSession
from .site import Site

LONGEST: Final = 200
"""Characters of a key, a value or a name."""

MOST_VALUES: Final = 50

SAID: Final = {
    "begun": "The session has begun: it is stored now, and its cookie was sent.",
    "in": "Logged in. The session has a new id, and the old one is dead.",
    "out": "Logged out. The session has ended on every framework at once.",
    "set": "The value is stored.", "removed": "The value is gone.", "added": "One was added.",
    "rotated": "The session has a new id. The old one is dead.",
    "renewed": "The session has a new id. For a minute the old one still serves requests that are under way.",
    "others": "Your other sessions have ended.", "ended": "That session has ended.",
}
"""What has just been done, by the word that stands in the address."""

_GONE: Final = {
    Absence.EXPIRED: "Your session has expired: nobody used it for too long, or its lifetime was over.",
    Absence.ENDED: "Your session was ended: by a logout, or from another device, or by the administrator.",
    Absence.ROTATED: "Your session goes on under another id, which this cookie does not know.",
    Absence.UNKNOWN: "Your cookie names no session: there was none, or it was deleted long ago.",
    Absence.MALFORMED: "Your cookie holds nothing that this demo could have issued.",
    Absence.UNREADABLE: "What is stored of your session cannot be read.",
}


def show(site: Site, asked: Asked) -> Answer:
    """Show the session, or that there is none and why."""
    session, done = asked.session, asked.query.get("done", "")
    said = SAID.get(done, "")
    if not session.has_info():
        return page(site, asked, "No session", _nobody(asked), notice=said if done == "out" else "")
    title = "A session without a name" if session.user is None else f"The session of {session.user}"
    content = markup(_SESSION, title=title, values=_values(asked), clocks=at_rest.clocks(site, session),
                     add=form(asked, "/add", "Add one", kind="inline", label="Add one to the counter"),
                     counter=session.get("counter", 0), user=_user(asked), at_rest=at_rest.shown(site, session),
                     cookie=_cookie(site, asked), actions=_actions(asked),
                     set=form(asked, "/set", "Set", markup(_SET, longest=LONGEST), "row"))
    return page(site, asked, title, content, notice=said, token=token_of(asked))


_NOBODY: Final = """
<h1>No session</h1>
{gone}<p class="lead">Nothing is stored for you, and no cookie was sent: there is nothing to keep yet. A session begins
when there is something in it.</p>
<div class="columns">
<section class="card"><h2>Log in</h2>
<p>Any name will do; no password is asked for.</p>{login}</section>
<section class="card"><h2>Begin without a name</h2>
<p>As a shop does when the first thing is put into the basket.</p>{begin}</section>
</div>
<p>Or see first what sets it apart: in the <a href="/labs">race lab</a> fifty requests write to one session at once, and
none of them is lost.</p>
"""

_LOGIN: Final = Markup('<label>Name <input name="user" value="anne" maxlength="200" autocomplete="username" required>'
                       "</label>")


def _nobody(asked: Asked) -> Markup:
    absence = asked.exchange.visit.absence
    gone = markup('<p class="notice">{text}</p>', text=_GONE[absence]) if absence in _GONE else None
    return markup(_NOBODY, gone=gone, login=form(asked, "/login", "Log in", _LOGIN, "row"),
                  begin=form(asked, "/begin", "Begin a session"))


_SESSION: Final = """
<h1>{title}</h1>
<div class="columns">
<section class="card" aria-labelledby="holds"><h2 id="holds">What is in it</h2>
<dl class="facts">
<div><dt>User</dt><dd>{user}</dd></div>
<div><dt>Counter</dt><dd><span id="counter">{counter}</span>{add}</dd></div>
{values}</dl>
{set}
</section>
<section class="card" aria-labelledby="clocks"><h2 id="clocks">Its clocks</h2>
{clocks}
</section>
</div>
<section class="card" aria-labelledby="where"><h2 id="where">Where it is</h2>
<div class="sides"><div>
{cookie}
</div><div>
{at_rest}
</div></div>
</section>
{actions}
"""

_SET: Final = """<label>Key <input name="key" value="colour" maxlength="{longest}" required></label>
<label>Value <input name="value" value="blue" maxlength="{longest}"></label>"""


def _user(asked: Asked) -> Markup:
    user = asked.session.user
    if user is not None:
        return markup('<b>{user}</b>{out}', user=user, out=form(asked, "/logout", "Log out", kind="inline"))
    return markup('nobody{login}', login=form(asked, "/login", "Log in", _LOGIN, "row inline"))


def _values(asked: Asked) -> Markup:
    return joined(markup("<div><dt><code>{key}</code></dt><dd><code>{value}</code>{remove}</dd></div>", key=key,
                         value=value, remove=form(asked, "/remove", "Remove", hidden("key", key), "inline",
                                                  f"Remove {key}"))
                  for key, value in sorted(asked.session.get("values", {}).items()))


_COOKIE: Final = """<h3>In your browser</h3>
<dl class="facts">
<div><dt>Id</dt><dd><code>{id}…</code></dd></div>
<div><dt>Sent once, with this id</dt><dd><code class="long">Set-Cookie: {header}</code></dd></div>
<div><dt>Read by</dt><dd>your browser alone: no script sees it, and no form of another site sends it</dd></div>
</dl>"""


def _cookie(site: Site, asked: Asked) -> Markup:
    session, exchange = asked.session, asked.exchange
    policy = policy_of(site.manager.cookie, exchange)
    begins = (session.id or "")[:6]
    return markup(_COOKIE, id=begins,
                  header=set_cookie_header(policy.name, f"{begins}…", policy.attributes(exchange)))


_ACTIONS: Final = """
<div class="columns">
<section class="card" aria-labelledby="id"><h2 id="id">Its id</h2>
<p>A login rotates it, so that an id somebody slipped you before is worth nothing after it.</p>
<div class="buttons">{rotate}{renew}{out}</div>
</section>
<section class="card" aria-labelledby="crash"><h2 id="crash">Errors on purpose</h2>
<p>Each changes the session, crashes, and shows what is left of it.</p>
<div class="buttons">{increment}{logout}</div>
</section>
</div>
"""


def _actions(asked: Asked) -> Markup:
    here = asked.session
    out = form(asked, "/logout", "End it") if here.user is None else form(asked, "/others", "Log out everywhere else")
    return markup(_ACTIONS, rotate=form(asked, "/rotate", "Rotate"), renew=form(asked, "/renew", "Renew"), out=out,
                  increment=form(asked, "/fail/add", "Add one and crash"),
                  logout=form(asked, "/fail/logout", "Log out and crash"))


# -- what can be done --------------------------------------------------------------------------------------------------


def begin(site: Site, asked: Asked) -> str:
    asked.session["keep"] = True
    return "begun"


def login(site: Site, asked: Asked) -> str:
    session = asked.session
    session.set_user(asked.form.get("user", "").strip()[:LONGEST] or "somebody")
    session.device = named(asked.header("User-Agent"))
    return "in"


def logout(site: Site, asked: Asked) -> str:
    site.manager.expire_session(asked.exchange)
    return "out"


def log_out_elsewhere(site: Site, asked: Asked) -> str:
    if asked.session.user is not None and site.manager.store.can_list:
        site.manager.revoke_user(asked.session.user, except_=asked.session)
    return "others"


def add(site: Site, asked: Asked) -> str:
    asked.session["counter"] = asked.session.get("counter", 0) + 1
    return "added"


def set_value(site: Site, asked: Asked) -> str:
    put(asked.session, asked.form.get("key", "key"), asked.form.get("value", ""))
    return "set"


def put(session: DemoSession, key: str, value: str) -> None:
    """Put a value into a session, which holds no more than a few."""
    values = session.setdefault("values", {})
    values[key[:LONGEST]] = value[:LONGEST]
    while len(values) > MOST_VALUES:
        values.pop(next(iter(values)))


def remove(site: Site, asked: Asked) -> str:
    asked.session.get("values", {}).pop(asked.form.get("key"), None)
    return "removed"


def rotate(site: Site, asked: Asked) -> str:
    site.manager.reserve_id(asked.session)
    return "rotated"


def renew(site: Site, asked: Asked) -> str:
    site.manager.rotate(asked.session, grace=site.manager.clocks.grace)
    return "renewed"


def add_and_fail(site: Site, asked: Asked) -> str:
    add(site, asked)
    raise OnPurpose(asked.session.id, asked.session["counter"])


def logout_and_fail(site: Site, asked: Asked) -> str:
    session_id = asked.session.id
    logout(site, asked)
    raise OnPurpose(session_id)


def and_back(act: Callable[[Site, Asked], str], path: str = "/",
             needs_session: bool = True) -> Callable[[Site, Asked], Answer]:
    """Return a page that does something and then shows `path`, with what was done.

    :param needs_session: whether there is nothing to be done for a visitor without a session.
    """
    def done(site: Site, asked: Asked) -> Answer:
        if needs_session and not asked.session.has_info():
            return redirect("/")
        return redirect(f"{path}?done={act(site, asked)}")

    return done


ACTIONS: Final = {
    "/begin": and_back(begin, needs_session=False), "/login": and_back(login, needs_session=False),
    "/logout": and_back(logout), "/others": and_back(log_out_elsewhere), "/add": and_back(add),
    "/set": and_back(set_value), "/remove": and_back(remove), "/rotate": and_back(rotate), "/renew": and_back(renew),
    "/fail/add": and_back(add_and_fail), "/fail/logout": and_back(logout_and_fail),
}
