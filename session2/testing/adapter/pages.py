"""The pages that every adapter's test application serves: their logic, once, for all frameworks.

An application routes every path to `answer`, with a `Call` that says how an application of its framework reaches the
session.  `Redirect` and `NotFound` are translated into what the framework raises or returns for them; any other
exception must reach the framework as it is.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from ... import merge
from ...session import DictSession

NOTHING: Final = "nothing"
"""What a page says of what is not there: some servers do not know how to end an empty answer."""


class PageSession(DictSession):
    """The session class of the pages."""

    __slots__ = ()

    merge_rules = {"visits": merge.add}


@dataclass(frozen=True)
class Call:
    """One request to a page."""

    arguments: Mapping[str, str]
    """The query arguments."""
    session: Callable[[], MutableMapping[str, Any]]
    """Returns the session as an application of the framework sees it; asked again after every step."""
    login: Callable[[str], object]
    user: Callable[[], Any]
    logout: Callable[..., object]
    """Logs out; takes ``clear_site_data`` as `SessionManager.expire_session` does."""

    def wait(self) -> None:
        """With an argument ``gate``, wait until the test lets this request go on."""
        if "gate" in self.arguments:
            pass_gate(int(self.arguments["gate"]))


class Redirect(Exception):
    """The page answers with a redirection to the path in its argument."""


class NotFound(Exception):
    """The page answers with status 404."""


class PageCrashed(RuntimeError):
    """What a page raises that fails on purpose."""


def answer(path: str, call: Call) -> str:
    """Return the text of the page at `path`, for example ``"/get"``."""
    if path not in PAGES:
        raise NotFound(path)
    return PAGES[path](call)


def pass_gate(port: int) -> None:
    """Tell the `Gate` at this port that somebody is there and wait until it opens."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.recv(1)


def _hello(call: Call) -> str:
    return "hello"


def _get(call: Call) -> str:
    value = str(call.session().get(call.arguments["key"], NOTHING))
    call.wait()
    return value


def _set(call: Call) -> str:
    call.session().get("")  # a session that loads itself at the first look must be loaded before the wait
    call.wait()
    call.session()[call.arguments["key"]] = call.arguments["value"]
    return "set"


def _delete(call: Call) -> str:
    del call.session()[call.arguments["key"]]
    return "deleted"


def _items(call: Call) -> str:
    session = call.session()
    return json.dumps({key: session[key] for key in sorted(session.keys())})


def _increment(call: Call) -> str:
    count = call.session().get("count", 0)
    call.wait()
    call.session()["count"] = count + 1
    return str(count + 1)


def _visit(call: Call) -> str:
    visits = call.session().get("visits", 0)
    call.wait()
    call.session()["visits"] = visits + 1
    return str(visits + 1)


def _login(call: Call) -> str:
    call.login(call.arguments["user"])
    call.wait()
    return "logged in"


def _logout(call: Call) -> str:
    call.logout()
    return "logged out"


def _user(call: Call) -> str:
    user = call.user()
    call.wait()
    return NOTHING if user is None else str(user)


def _logout_clear(call: Call) -> str:
    call.logout(clear_site_data=True)
    return "logged out, and nothing is left"


def _logout_clear_fail(call: Call) -> str:
    _logout_clear(call)
    raise PageCrashed("after a logout")


def _logout_twice(call: Call) -> str:
    call.logout()
    return _logout(call)


def _relogin(call: Call) -> str:
    call.logout()
    return _login(call)


def _fail(call: Call) -> str:
    _set(call)
    raise PageCrashed("after it set a value")


def _login_fail(call: Call) -> str:
    _login(call)
    raise PageCrashed("after a login")


def _logout_fail(call: Call) -> str:
    _logout(call)
    raise PageCrashed("after a logout")


def _redirect(call: Call) -> str:
    _set(call)
    raise Redirect("/")


def _missing(call: Call) -> str:
    _set(call)
    raise NotFound("after it set a value")


PAGES: Final[dict[str, Callable[[Call], str]]] = {
    "/": _hello,  # does not look at the session
    "/get": _get,  # ?key=, &gate=
    "/set": _set,  # ?key=&value=, &gate=
    "/delete": _delete,  # ?key=
    "/items": _items,  # all items as JSON
    "/increment": _increment,  # "count", without a merge rule; ?gate=
    "/visit": _visit,  # "visits", which merges by adding; ?gate=
    "/login": _login,  # ?user=, &gate=
    "/user": _user,  # the user; ?gate=
    "/logout": _logout,
    "/logout-clear": _logout_clear,  # with Clear-Site-Data
    "/logout-clear-fail": _logout_clear_fail,
    "/logout-twice": _logout_twice,
    "/relogin": _relogin,  # ?user=; logs out and in again in one request
    "/fail": _fail,  # ?key=&value=; sets, then crashes
    "/login-fail": _login_fail,  # ?user=
    "/logout-fail": _logout_fail,
    "/redirect": _redirect,  # ?key=&value=; sets, then redirects
    "/missing": _missing,  # ?key=&value=; sets, then answers 404
}
