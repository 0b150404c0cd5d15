"""From ``tools.sessions.*`` to a session manager and a cookie policy."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

import cherrypy  # type: ignore[import-untyped, unused-ignore]

from session2 import ConfigurationError, CookiePolicy, DictSession, Session, SessionManager, from_url
from session2.cookies import is_path

Manager = SessionManager[DictSession]

_by_url: Final[dict[str, Manager]] = {}
_variants: Final[WeakKeyDictionary[SessionManager[Any], dict[float | None, Manager]]] = WeakKeyDictionary()
_making: Final = threading.Lock()


def tool_settings(request: Any) -> Mapping[str, Any]:
    """Return what is configured of the session tool for this request: CherryPy's own defaults are not in it."""
    return cast("Mapping[str, Any]", getattr(request, "toolmaps", {}).get("tools", {}).get("sessions", {}))


def find_manager(settings: Mapping[str, Any], timeout: float) -> Manager:
    """Return the manager for these settings.

    A manager that was given keeps its own clocks unless ``timeout`` is configured; one made from a URL has CherryPy's.

    :param timeout: minutes; CherryPy's default if nothing is configured.
    """
    given = settings.get("manager")
    if given is None:
        return _variant(_made(settings.get("store_url")), timeout * 60)
    if not isinstance(given, SessionManager):
        raise ConfigurationError(f"tools.sessions.manager must be a session2.SessionManager, not {given!r}")
    return _variant(given, timeout * 60 if "timeout" in settings else given.clocks.idle)


def cookie_policy(settings: Mapping[str, Any], headers: Mapping[str, str], samesite: Any,
                  max_age: float | None) -> CookiePolicy:
    """Return the policy for the tool's settings; where they say nothing, the safe choice holds, not CherryPy's.

    :param max_age: seconds a persistent cookie lives; None: until the browser is closed.
    """
    persistent = settings.get("persistent", True) and max_age is not None
    return CookiePolicy(
        name=settings.get("name", "session_id"),
        path=_path(settings, headers),
        domain=settings.get("domain") or None,
        secure=settings.get("secure"),
        httponly=bool(settings.get("httponly", True)),
        samesite=samesite,
        max_age=math.ceil(cast(float, max_age)) if persistent else None,
    )


def _path(settings: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    if settings.get("path"):
        return str(settings["path"])
    sent = headers.get(settings.get("path_header") or "", "") or "/"
    if not is_path(sent):
        raise cherrypy.HTTPError(400, "The header that names the path of the session cookie is malformed.")
    return sent


def _made(url: Any) -> Manager:
    if not isinstance(url, str):
        raise ConfigurationError("the session tool needs a store: set tools.sessions.manager to a "
                                 "session2.SessionManager, or tools.sessions.store_url, for example to "
                                 "'directory:/var/lib/sessions?create=true'")
    with _making:
        if url not in _by_url:
            manager = SessionManager(from_url(url), DictSession)
            manager.store.setup()
            _by_url[url] = manager
        return _by_url[url]


def _variant(manager: SessionManager[Any], idle_timeout: float | None) -> Manager:
    """Return the manager, or another one over the same store where its clock or session class do not suit."""
    if idle_timeout == manager.clocks.idle and issubclass(manager.session_class, DictSession):
        return manager
    variants = _variants.setdefault(manager, {})
    if idle_timeout not in variants:
        variants[idle_timeout] = _made_variant(manager, idle_timeout)
    return variants[idle_timeout]


def _made_variant(manager: SessionManager[Any], idle_timeout: float | None) -> Manager:
    if idle_timeout is not None and not idle_timeout > 0:
        raise ConfigurationError("tools.sessions.timeout must be a positive number of minutes")
    variant: Manager = copy.copy(manager)
    variant.session_class = _mapping_class(manager.session_class)
    variant.clocks = replace(manager.clocks, idle=idle_timeout)
    return variant


def _mapping_class(session_class: type[Session]) -> type[DictSession]:
    if issubclass(session_class, DictSession):
        return session_class
    if session_class is Session:
        return DictSession
    raise ConfigurationError(f"CherryPy's sessions are mappings: derive {session_class.__name__} from DictSession")
