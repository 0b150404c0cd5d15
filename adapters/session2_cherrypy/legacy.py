"""The ``[session]`` scope of CherryPy 0.10, translated for the session tool of today."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import cherrypy  # type: ignore[import-untyped, unused-ignore]

from session2 import ConfigurationError, DictSession, SessionManager
from session2.store.base import SessionStore

from .session import StoreSession

_NAMES: Final = ("storageType", "storageFileDir", "timeout", "cleanUpDelay", "cookieName")
_KINDS: Final = ("ram", "file", "cookie", "custom")

Function = Callable[..., Any]


def legacy_config(section: Mapping[str, Any] | str | os.PathLike[str], *, save: Function | None = None,
                  load: Function | None = None, cleanup: Function | None = None,
                  secret: str | None = None) -> dict[str, Any]:
    """Return the settings of CherryPy's session tool that mean what a ``[session]`` scope of CherryPy 0.10 meant.

    They belong to a path: ``{"/": legacy_config("RootServer.cfg")}``.  ``request.sessionMap`` is there as it was.

    :param section: the options of the scope, or the path of the configuration file it stands in.
    :param save: for ``storageType=custom``, ``saveSessionData(sessionId, sessionData, expirationTime)``.
    :param load: likewise ``loadSessionData(sessionId)``, which returns ``(sessionData, expirationTime)`` or None.
    :param cleanup: likewise ``cleanUpOldSessions()``.
    :param secret: for ``storageType=cookie``: what encrypts the sessions, from `session2.get_secret`; CherryPy 0.10
        unpickled whatever a client sent.

    Raises `ConfigurationError` for options that do not exist or cannot work.
    """
    options = _read(section) if isinstance(section, (str, os.PathLike)) else dict(section)
    _check_names(options)
    functions = {"save": save, "load": load, "cleanup": cleanup}
    manager = SessionManager(_store(options, functions, secret), DictSession)
    return {
        "tools.sessions.on": True,
        "tools.sessions.storage_class": StoreSession,
        "tools.sessions.manager": manager,
        "tools.sessions.timeout": _minutes(options, "timeout"),
        "tools.sessions.clean_freq": _minutes(options, "cleanUpDelay"),
        "tools.sessions.name": str(options.get("cookieName", "CherryPySession")),
        "tools.session_map.on": True,
    }


def _read(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return the scope as Python 2 read it, for which names had no case and a blank and a semicolon began a comment."""
    names = {name.lower(): name for name in _NAMES}
    parser = ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
    parser.optionxform = lambda name: names.get(name.lower(), name)  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(Path(path).read_text("utf-8-sig", "replace"), os.fspath(path))
        return dict(parser["session"])
    except (OSError, Error, KeyError) as error:
        raise ConfigurationError(f"no [session] scope can be read from {os.fspath(path)!r}: {error}") from error


def _check_names(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in _NAMES:
            near = "".join(f"; did you mean {found!r}?" for found in get_close_matches(name, _NAMES, 1))
            raise ConfigurationError(f"CherryPy 0.10 has no option {name!r} in [session]{near}")


def _store(options: Mapping[str, Any], functions: Mapping[str, Function | None], secret: str | None) -> SessionStore:
    kind = str(options.get("storageType", "")).lower()
    if kind == "ram":
        from session2.store.volatile import VolatileSessionStore

        return VolatileSessionStore()
    if kind == "file":
        from session2.store.directory import DirectorySessionStore

        if not options.get("storageFileDir"):
            raise ConfigurationError("storageType=file needs storageFileDir, the folder of the sessions")
        return DirectorySessionStore(os.fspath(options["storageFileDir"]), create=True)
    if kind == "cookie":
        return _cookie_store(secret)
    if kind == "custom":
        return _function_store(functions)
    raise ConfigurationError(f"storageType must be one of {', '.join(_KINDS)}, not {options.get('storageType')!r}")


def _cookie_store(secret: str | None) -> SessionStore:
    from session2.store.cookie import CookieSessionStore

    if secret is None:
        raise ConfigurationError("storageType=cookie needs a secret that encrypts the sessions: make one with session2 "
                                 "secret, and give it to legacy_config(..., secret=...)")
    return CookieSessionStore(secret)


def _function_store(functions: Mapping[str, Function | None]) -> SessionStore:
    from session2.store.functions import FunctionSessionStore

    missing = [name for name, function in functions.items() if function is None]
    if missing:
        raise ConfigurationError(f"storageType=custom needs your functions: give {', '.join(missing)} to legacy_config")
    return FunctionSessionStore(**functions)  # type: ignore[arg-type]


def _minutes(options: Mapping[str, Any], name: str) -> float:
    try:
        return float(options.get(name, 60))
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} must be a number of minutes, not {options[name]!r}") from None


def _show_session_map() -> None:
    """Let the pages find their session where CherryPy 0.10 had it."""
    cherrypy.serving.request.sessionMap = cherrypy.session


# Behind the hook of the session tool, which has priority 50.
cherrypy.tools.session_map = cherrypy.Tool("before_handler", _show_session_map, priority=60)
