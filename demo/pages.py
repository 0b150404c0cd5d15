"""The pages.  Each is a function of the manager, the session and the query; it knows no framework.

It returns HTML, or None to send the visitor back to the index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from html import escape
from typing import Final

from session2 import CookiePolicy, DictSession, SessionManager, merge
from session2.store.base import SessionStore

COOKIE: Final = CookiePolicy(name="session2_demo")

LONGEST_WAIT: Final = 60.0


class DemoSession(DictSession):
    """A session that is not stored until its visitor asks to keep it, or logs in."""

    merge_rules = {"counter": merge.add}

    def has_info(self) -> bool:
        """Tell whether the visitor asked for the session to be kept."""
        return bool(self.get("keep")) or self.user is not None


Manager = SessionManager[DemoSession]
Query = Mapping[str, str]
Page = Callable[[Manager, DemoSession, Query], "str | None"]


def make_manager(store: SessionStore) -> Manager:
    """Return the manager that every framework serves the demonstration with."""
    return SessionManager(store, DemoSession, cookie=COOKIE)


def index(manager: Manager, session: DemoSession, query: Query) -> str:
    values = "".join(f"<li><code>{escape(key)}</code> is <code>{escape(value)}</code></li>"
                     for key, value in sorted(session.get("values", {}).items()))
    user = "Nobody is logged in." if session.user is None else f"{escape(session.user)} is logged in."
    return _TEMPLATE.format(id=session.id, counter=session.get("counter", 0), user=user, values=values)


def keep(manager: Manager, session: DemoSession, query: Query) -> None:
    session["keep"] = True


def increment(manager: Manager, session: DemoSession, query: Query) -> None:
    session["counter"] = session.get("counter", 0) + 1


def increment_and_fail(manager: Manager, session: DemoSession, query: Query) -> None:
    increment(manager, session, query)
    raise RuntimeError("this page fails on purpose: the counter must be what it was before")


def login(manager: Manager, session: DemoSession, query: Query) -> None:
    session.set_user(query.get("user") or "somebody")


def logout(manager: Manager, session: DemoSession, query: Query) -> None:
    manager.expire_session(session.exchange)


def logout_and_fail(manager: Manager, session: DemoSession, query: Query) -> None:
    logout(manager, session, query)
    raise RuntimeError("this page fails on purpose: you must still be logged in")


def set_value(manager: Manager, session: DemoSession, query: Query) -> None:
    session.setdefault("values", {})[query.get("key", "key")] = query.get("value", "value")


def slow_increment(manager: Manager, session: DemoSession, query: Query) -> None:
    """Hold the request open after the change: the time to log out, or to change something else, beside it."""
    increment(manager, session, query)
    print("slow: the counter was incremented, now waiting", flush=True)
    time.sleep(min(float(query.get("seconds", "10")), LONGEST_WAIT))


PAGES: Final[Mapping[str, Page]] = {
    "": index,
    "keep": keep,
    "increment": increment,
    "incrementfail": increment_and_fail,
    "login": login,
    "logout": logout,
    "logoutfail": logout_and_fail,
    "set": set_value,
    "slow": slow_increment,
}

_TEMPLATE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>session2 demo</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #223 }}
a {{ color: #06c }}
.state {{ background: #f2f5f9; border-radius: .5rem; padding: 1rem 1.5rem; overflow-wrap: anywhere }}
form {{ display: inline }}
</style>
</head>
<body>
<h1>Hello, world!</h1>
<div class="state">
<p>Your session ID is {id}.</p>
<p>Counter is at {counter}.</p>
<p>{user}</p>
<ul>{values}</ul>
</div>
<ul>
<li><a href="./">revisit page</a></li>
<li><a href="keep">assign session</a>: until then nothing is stored, and no cookie is sent</li>
<li><a href="increment">increment</a> | <a href="incrementfail">increment+error</a></li>
<li><a href="logout">log out</a> | <a href="logoutfail">logout+error</a></li>
<li><a href="slow?seconds=10">increment slowly</a>: the page takes ten seconds; meanwhile use another tab</li>
<li><form action="set"><input name="key" size="8" value="colour"> is <input name="value" size="8" value="blue">
<button>set</button></form></li>
<li><form action="login"><input name="user" size="8" value="anne"> <button>log in</button></form>:
the session goes on under a new ID</li>
</ul>
</body>
</html>
"""
