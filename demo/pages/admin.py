"""Admin: sessions by user, statistics, revoking and purging.  It works on records, and never sees what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from session2 import traces
from session2.record import Record
from session2.store.cleaning import clean

from .asked import Answer, Asked, number_in, redirect
from .at_rest import shown_key
from .html import Markup, ago, joined, markup, plural, span
from .layout import form, hidden, page, token_of
from .overview import and_back
from .site import Site

MOST: Final = 200
"""How many sessions are shown."""

Filed = tuple[str, Record]

_LOGIN: Final = """<h1>Admin</h1>
<p class="lead">The password was printed where the demo was started; it is another one each time.</p>
<div class="card narrow">{login}</div>"""

_FIELDS: Final = Markup(
    '<input name="username" value="admin" autocomplete="username" hidden>'
    '<label>Password <input type="password" name="password" autocomplete="current-password" required></label>')

_ADMIN: Final = """<h1>Admin</h1>
<dl class="numbers">
<div><dt>Sessions</dt><dd>{sessions}</dd></div>
<div><dt>Users</dt><dd>{users}</dd></div>
<div><dt>Bytes</dt><dd>{bytes}</dd></div>
<div><dt>Oldest</dt><dd>{oldest}</dd></div>
<div><dt>Next to expire</dt><dd>{next}</dd></div>
</dl>
<div class="buttons">{purge}{leave}</div>
<div class="scroll" tabindex="0" role="region" aria-label="Sessions by user">
<table><caption>Sessions by user{limit}</caption>
<thead><tr><th scope="col">User</th><th scope="col">Key</th><th scope="col">Last seen</th><th scope="col">Expires</th>
<th scope="col">Bytes</th><th scope="col">End</th></tr></thead>
{users_shown}</table></div>"""

_CANNOT: Final = """<h1>Admin</h1>
<p class="lead">The {store} store cannot list sessions: there is nothing to administer.</p>"""

_SAID: Final = {"wrong": "That is not the password.", "entered": "Welcome.", "left": "You are no administrator now.",
                "revoked": "Ended: whoever had it is logged out at the next request.", "none": "There was none."}


def show(site: Site, asked: Asked) -> Answer:
    """Show the sessions to the administrator, and a login to everybody else."""
    done = asked.query.get("done", "")
    count = number_in(done)
    said = _SAID.get(done, "") if count is None else f"Purged: {plural(count, 'record')} deleted."
    if not is_admin(site, asked):
        content = markup(_LOGIN, login=form(asked, "/admin/login", "Log in", _FIELDS, "row"))
    elif not site.manager.store.can_list:
        content = markup(_CANNOT, store=site.store)
    else:
        content = _shown(site, asked)
    return page(site, asked, "Admin", content, notice=said, token=token_of(asked))


def is_admin(site: Site, asked: Asked) -> bool:
    """Tell whether the visitor gave the password of this start."""
    return asked.session.admin == site.start


class Stats(NamedTuple):
    """What there is."""

    sessions: int
    users: int
    bytes: int
    oldest: float | None
    next_to_expire: float | None


def counted(records: Iterable[Filed]) -> Stats:
    """Count sessions."""
    found = [(record.user, len(record.data), record.created, record.expires) for _, record in records]
    return Stats(len(found), len({user for user, *_ in found if user is not None}), sum(size for _, size, *_ in found),
                 min((created for *_, created, _ in found), default=None),
                 min((expires for *_, expires in found if expires is not None), default=None))


def _sessions(site: Site) -> Iterator[Filed]:
    return ((key, record) for key, record in site.manager.store.scan() if traces.is_session(key, record))


def _shown(site: Site, asked: Asked) -> Markup:
    found, now = list(_sessions(site)), site.manager.sessions.clock()
    stats = counted(found)
    return markup(
        _ADMIN, sessions=stats.sessions, users=stats.users, bytes=f"{stats.bytes:,}",
        oldest="none" if stats.oldest is None else ago(now - stats.oldest),
        next="none" if stats.next_to_expire is None else f"in {span(stats.next_to_expire - now)}",
        purge=form(asked, "/admin/purge", "Purge what has expired"), leave=form(asked, "/admin/leave", "Leave"),
        limit=f", the {MOST} used last" if len(found) > MOST else "", users_shown=_by_user(site, asked, found, now))


def _by_user(site: Site, asked: Asked, found: list[Filed], now: float) -> Markup:
    """Show the sessions that were used last, those of one user together."""
    users: dict[str | None, list[Filed]] = {}
    for key, record in islice(sorted(found, key=lambda each: -each[1].accessed), MOST):
        users.setdefault(record.user, []).append((key, record))
    return joined(_of_user(site, asked, user, records, now) for user, records in users.items())


_USER: Final = """<tbody><tr class="user"><th scope="rowgroup" colspan="5">{user} <span class="hint">{count}</span></th>
<td>{end}</td></tr>{rows}</tbody>"""

_ROW: Final = """<tr><td>{here}</td><td><code>{key}…</code></td><td>{seen}</td><td>{expires}</td><td>{bytes}</td>
<td>{end}</td></tr>"""


def _of_user(site: Site, asked: Asked, user: str | None, records: list[Filed], now: float) -> Markup:
    all_of = None if user is None else form(asked, "/admin/user", "All", hidden("user", user), "inline",
                                            f"End all sessions of {user}")
    return markup(_USER, user="without a user" if user is None else user, count=plural(len(records), "session"),
                  end=all_of, rows=joined(_row(site, asked, key, record, now) for key, record in records))


def _row(site: Site, asked: Asked, key: str, record: Record, now: float) -> Markup:
    shown = shown_key(site.manager.store, key)
    return markup(_ROW, key=shown[:8], seen=ago(now - record.accessed), bytes=len(record.data),
                  here="yours" if key == asked.session.key else "",
                  expires="never" if record.expires is None else f"in {span(record.expires - now)}",
                  end=form(asked, "/admin/end", "End", hidden("key", shown), "inline", f"End the session {shown[:8]}"))


# -- what can be done --------------------------------------------------------------------------------------------------


def enter(site: Site, asked: Asked) -> str:
    session = asked.session
    if not site.is_password(asked.form.get("password", "")):
        return "wrong"
    session["keep"] = True
    session.admin = site.start
    site.manager.reserve_id(session)  # as with every login: who knew the id before does not know it any more
    return "entered"


def leave(site: Site, asked: Asked) -> str:
    asked.session.admin = None
    site.manager.reserve_id(asked.session)
    return "left"


def end(site: Site, asked: Asked) -> str:
    store, wanted = site.manager.store, asked.form.get("key")
    ended = [site.manager.sessions.end_key(key, "ended by the administrator")
             for key, _ in _sessions(site) if shown_key(store, key) == wanted]
    return "revoked" if any(ended) else "none"


def end_user(site: Site, asked: Asked) -> str:
    return "revoked" if site.manager.revoke_user(asked.form.get("user")) else "none"


def purge(site: Site, asked: Asked) -> str:
    return str(clean(site.manager.store).deleted)


def _if_admin(act: Callable[[Site, Asked], str]) -> Callable[[Site, Asked], Answer]:
    """Return a page that does something for the administrator, and nothing for anybody else."""
    allowed = and_back(act, "/admin")

    def done(site: Site, asked: Asked) -> Answer:
        possible = act is leave or site.manager.store.can_list
        return allowed(site, asked) if possible and is_admin(site, asked) else redirect("/admin")

    return done


ACTIONS: Final = {
    "/admin/login": and_back(enter, "/admin", needs_session=False),
    **{f"/admin/{name}": _if_admin(act) for name, act in {
        "leave": leave, "end": end, "user": end_user, "purge": purge}.items()},
}
