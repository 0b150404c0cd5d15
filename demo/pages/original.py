"""The pages of session2's original test application, at their paths below ``/original/``.

They change the session when they are got, for that is what its twill scripts do; so a link of another site that leads
here is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from .asked import Answer, Asked, redirect
from .failing import OnPurpose
from .html import Markup, joined, markup
from .layout import page
from .overview import LONGEST, put
from .site import Site

LONGEST_WAIT: Final = 60.0


def index(site: Site, asked: Asked) -> Answer:
    """Show the session."""
    session = asked.session
    values = joined(markup("<li><code>{key}</code> is <code>{value}</code></li>", key=key, value=value)
                    for key, value in sorted(session.get("values", {}).items()))
    user = "Nobody is logged in." if session.user is None else f"{session.user} is logged in."
    return page(site, asked, "The original test application", markup(
        _TEMPLATE, id=str(session.id), counter=session.get("counter", 0), user=user, values=values))


def keep(site: Site, asked: Asked) -> None:
    asked.session["keep"] = True


def increment(site: Site, asked: Asked) -> None:
    asked.session["counter"] = asked.session.get("counter", 0) + 1


def increment_and_fail(site: Site, asked: Asked) -> None:
    """Fail: the counter must be what it was before."""
    increment(site, asked)
    raise OnPurpose(asked.session.id, asked.session["counter"])


def login(site: Site, asked: Asked) -> None:
    asked.session.set_user((asked.query.get("user") or "somebody")[:LONGEST])


def logout(site: Site, asked: Asked) -> None:
    site.manager.expire_session(asked.exchange)


def logout_and_fail(site: Site, asked: Asked) -> None:
    """Fail: the visitor must still be logged in."""
    session_id = asked.session.id
    logout(site, asked)
    raise OnPurpose(session_id)


def set_value(site: Site, asked: Asked) -> None:
    put(asked.session, asked.query.get("key", "key"), asked.query.get("value", "value"))


def slow_increment(site: Site, asked: Asked) -> None:
    """Hold the request open after the change: the time to log out, or to change something else, beside it."""
    increment(site, asked)
    print("slow: the counter was incremented, now waiting", flush=True)
    time.sleep(_seconds(asked.query.get("seconds", "10")))


def _seconds(text: str) -> float:
    try:
        return min(max(0.0, float(text)), LONGEST_WAIT)
    except ValueError:
        return 0.0


def _and_back(change: Callable[[Site, Asked], None]) -> Callable[[Site, Asked], Answer]:
    """Return a page that does something and sends the visitor back to the index."""
    def changed(site: Site, asked: Asked) -> Answer:
        change(site, asked)
        return redirect("/original/")

    return changed


PAGES: Final = {"": index, **{name: _and_back(change) for name, change in {
    "keep": keep, "increment": increment, "incrementfail": increment_and_fail, "login": login, "logout": logout,
    "logoutfail": logout_and_fail, "set": set_value, "slow": slow_increment}.items()}}

_TEMPLATE: Final = Markup("""
<h1>Hello, world!</h1>
<p class="lead">The pages that session2 began with, for its six scripts. Unlike the others they show your whole id, and
change your session when they are got.</p>
<div class="card">
<p>Your session ID is {id}.</p>
<p>Counter is at {counter}.</p>
<p>{user}</p>
<ul>{values}</ul>
</div>
<ul class="plain">
<li><a href="./">revisit page</a></li>
<li><a href="keep">assign session</a>: until then nothing is stored, and no cookie is sent</li>
<li><a href="increment">increment</a> | <a href="incrementfail">increment+error</a></li>
<li><a href="logout">log out</a> | <a href="logoutfail">logout+error</a></li>
<li><a href="slow?seconds=10">increment slowly</a>: the page takes ten seconds; meanwhile use another tab</li>
<li><form action="set" class="row"><label>Key <input name="key" size="8" value="colour"></label>
<label>Value <input name="value" size="8" value="blue"></label><button>set</button></form></li>
<li><form action="login" class="row"><label>Name <input name="user" size="8" value="anne"></label>
<button>log in</button></form></li>
</ul>
""")
