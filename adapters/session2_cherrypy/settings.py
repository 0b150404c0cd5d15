"""From ``tools.sessions.*`` to a session manager and a cookie policy."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache, partial
from http.cookies import CookieError, SimpleCookie
from types import NoneType
from typing import Any, Final, Literal, cast

import cherrypy  # type: ignore[import-untyped, unused-ignore]

from session2 import ConfigurationError, CookiePolicy, DictSession, SessionManager, from_url
from session2.cookies import is_path
from session2.mutex import Mutex
from session2.store.records import can_merge
from session2.variants import Manager, for_mappings

_by_url: Final[dict[str, Manager]] = {}
_making: Final = Mutex()

_PATIENCE: Final = 60.0
"""Seconds to wait for whoever opens another store."""

OF_THE_TOOL: Final = ("on", "priority", "storage_class", "storage_type", "debug")
OF_THE_COOKIE: Final = ("name", "path", "path_header", "domain", "secure", "httponly", "persistent")
OF_THE_CLASS: Final = ("manager", "store_url", "timeout", "clean_freq", "locking", "samesite")
OF_OTHER_CLASSES: Final = ("storage_path", "lock_timeout", "servers")
"""What CherryPy's own classes take: left over, perhaps, and of no effect."""
OF_OTHER_STORAGE: Final = ("_load", "_save", "_delete", "_exists", "_regenerate", "generate_id", "now")
"""What a class derived from CherryPy's own overrides."""


def check(settings: Mapping[str, Any], storage_class: Any) -> None:
    """Raise `ConfigurationError` for settings that can be seen to be wrong without opening a store."""
    if settings.get("storage_type"):
        raise ConfigurationError(f"tools.sessions.storage_type = {settings['storage_type']!r} is what CherryPy heeds, "
                                 f"and not storage_class = {storage_class.__name__}: leave out one of them")
    for name in OF_OTHER_STORAGE:
        if hasattr(storage_class, name):
            raise ConfigurationError(f"{storage_class.__name__}.{name} would never be called: sessions are kept by a "
                                     "store, and their ids drawn by the library; for a way of your own to keep them "
                                     "derive a store from session2.store.base.SessionStore")
    _check_names(settings, storage_class)
    _check_types(settings)
    cookie_policy(settings, {}, settings.get("samesite", storage_class.samesite), None)


def _check_names(settings: Mapping[str, Any], storage_class: Any) -> None:
    own = [name for base in storage_class.__mro__ if "__init__" in vars(base)
           for name in inspect.signature(base.__init__).parameters]
    known = [*OF_THE_TOOL, *OF_THE_COOKIE, *OF_THE_CLASS, *OF_OTHER_CLASSES, *own]
    for name in settings:
        if name not in known:
            near = "".join(f"; did you mean {found!r}?" for found in get_close_matches(name, known, 1))
            raise ConfigurationError(f"there is no setting tools.sessions.{name}{near}")
        if name in OF_OTHER_CLASSES and name not in own:
            cherrypy.log(f"tools.sessions.{name} is a setting of another session class and has no effect.",
                         context="TOOLS.SESSIONS", severity=30)


def _check_types(settings: Mapping[str, Any]) -> None:
    for name in ("name", "path", "path_header", "domain", "locking", "store_url"):
        if not isinstance(settings.get(name), (str, NoneType)):
            raise ConfigurationError(f"tools.sessions.{name} must be text, not {settings[name]!r}")
    for name in ("secure", "httponly", "persistent"):
        if settings.get(name) not in (True, False, None):
            raise ConfigurationError(f"tools.sessions.{name} must be True or False, not {settings[name]!r}")
    _minutes("timeout", settings.get("timeout", 60))
    if settings.get("clean_freq") is not None:
        _number("clean_freq", settings["clean_freq"])


def _minutes(name: str, value: Any) -> float:
    if not _number(name, value) > 0 or isinstance(value, bool):
        raise ConfigurationError(f"tools.sessions.{name} must be a positive number of minutes, not {value!r}")
    return float(value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"tools.sessions.{name} must be a positive number of minutes, not {value!r}")
    return float(value)


def tool_settings(request: Any) -> Mapping[str, Any]:
    """Return what is configured of the session tool for this request: CherryPy's own defaults are not in it."""
    found = getattr(request, "toolmaps", {}).get("tools", {}).get("sessions", {})
    return cast("Mapping[str, Any]", found if found.get("on") else {})


def find_manager(settings: Mapping[str, Any], timeout: float) -> Manager:
    """Return the manager for these settings.

    A manager that was given keeps its own clocks unless ``timeout`` is configured; one made from a URL has CherryPy's.

    :param timeout: minutes; CherryPy's default if nothing is configured.
    """
    given = settings.get("manager")
    if given is None:
        return _with_timeout(_made(settings.get("store_url")), timeout)
    if not isinstance(given, SessionManager):
        raise ConfigurationError(f"tools.sessions.manager must be a session2.SessionManager, not {given!r}")
    return for_mappings(given, _minutes("timeout", timeout) * 60 if "timeout" in settings else given.clocks.idle)


@lru_cache(maxsize=64, typed=True)
def _with_timeout(manager: Manager, timeout: float) -> Manager:
    return for_mappings(manager, _minutes("timeout", timeout) * 60)


def mode_of(manager: Manager, wants_lock: bool | None) -> Literal["lock"] | None:
    """Return "lock" where requests take turns: CherryPy's rule, unless the tool or the manager was told another one.

    Nor is it the rule on a store in which requests that overlap do not meet.
    """
    by_default = manager.concurrency == "merge" and can_merge(type(manager.store))
    return "lock" if (by_default if wants_lock is None else wants_lock) else None


def cookie_policy(settings: Mapping[str, Any], headers: Mapping[str, str], samesite: Any,
                  max_age: float | None) -> CookiePolicy:
    """Return the policy for the tool's settings; where they say nothing, the safe choice holds, not CherryPy's.

    :param max_age: seconds a persistent cookie lives; None: until the browser is closed.
    """
    persistent, secure = settings.get("persistent", True), settings.get("secure")
    return _policy(
        name=settings.get("name", "session_id"),
        path=cookie_path(settings, headers),
        domain=settings.get("domain") or None,
        secure=None if secure is None else bool(secure),
        httponly=bool(settings.get("httponly", CookiePolicy.httponly)),
        samesite=samesite,
        max_age=None if max_age is None or not persistent else math.ceil(max_age),
    )


@lru_cache(maxsize=64)
def _policy(name: str, **attributes: Any) -> CookiePolicy:
    policy = CookiePolicy(name, **attributes)
    try:
        SimpleCookie()[name] = ""
    except CookieError as error:
        raise ConfigurationError(f"CherryPy cannot send a cookie called {name!r}: {error}") from error
    return policy


def cookie_path(settings: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Return the path of the cookie; HTTPError 400 if the header that names it holds none."""
    if settings.get("path"):
        return str(settings["path"])
    if not settings.get("path_header"):
        return "/"
    sent = headers.get(settings["path_header"], "") or "/"
    if not is_path(sent):
        raise cherrypy.HTTPError(400, "The header that names the path of the session cookie is malformed.")
    return sent


def _made(url: Any) -> Manager:
    if not isinstance(url, str):
        raise ConfigurationError("the session tool needs a store: set tools.sessions.manager to a "
                                 "session2.SessionManager, or tools.sessions.store_url, for example to "
                                 "'directory:/var/lib/sessions?create=true'")
    return _by_url.get(url) or _making.run(partial(_make, url), _PATIENCE, "the session store is still being opened")


def _make(url: str) -> Manager:
    if url not in _by_url:
        manager = SessionManager(from_url(url), DictSession)
        manager.store.setup()
        _by_url[url] = manager
    return _by_url[url]
