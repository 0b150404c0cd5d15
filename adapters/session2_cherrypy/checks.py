"""Settings that cannot work stop the server at its start, not each visitor with a 500."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from http.cookies import SimpleCookie
from types import FunctionType, MethodType
from typing import Any, NamedTuple, TypeGuard

import cherrypy  # type: ignore[import-untyped, unused-ignore]
from cherrypy import _cprequest
from cherrypy.lib import httputil  # type: ignore[import-untyped, unused-ignore]

from session2 import ConfigurationError, SessionError, StoreUnavailable
from session2.errors import StoreMissing

from .session import StoreSession
from .settings import OF_THE_COOKIE, OF_THE_TOOL, check

_DEPTH = 10
"""How deep pages are looked for: objects that refer to one another have no end."""


class Place(NamedTuple):
    """Where the session tool is on, and its settings there."""

    name: str
    storage_class: type[StoreSession]
    settings: dict[str, Any]


def install() -> None:
    """Have the settings checked when CherryPy's engine starts.

    That is behind what changes the user of the process, for the files of a store belong to who opens it first.
    """
    cherrypy.engine.subscribe("start", check_settings, 80)


def check_settings() -> None:
    """Raise `ConfigurationError` for settings that cannot work, those of a store that cannot be opened among them."""
    for place in places():
        try:
            check(place.settings, place.storage_class)
            _open_store(place)
        except (ConfigurationError, StoreMissing, OSError) as error:
            raise ConfigurationError(f"the session tool at {place.name}: {error}") from error
        except StoreUnavailable as error:  # it may be there by the time somebody needs it
            _warn(f"The session store for {place.name} is not available yet: {error}")


def _open_store(place: Place) -> None:
    with _request(place.settings):
        try:
            session = place.storage_class(None, **_for_the_class(place.settings))
        except (SessionError, OSError):
            raise
        except Exception as error:  # of a subclass that wants to see a request
            _warn(f"The settings of the session tool at {place.name} could not be checked: {error!r}")
            return
        session.manager  # noqa: B018 (it is made when it is asked for)
        session.cookie_policy  # noqa: B018


def _warn(message: str) -> None:
    cherrypy.log(message, context="TOOLS.SESSIONS", severity=30)


@contextlib.contextmanager
def _request(settings: dict[str, Any]) -> Iterator[None]:
    """Pretend that there is a request: a session class may have settings of its own, which it decides when made."""
    here = httputil.Host("127.0.0.1", 80)
    request = _cprequest.Request(here, here)
    request.header_list, request.headers, request.cookie = [], httputil.HeaderMap(), SimpleCookie()
    request.hooks = _cprequest.HookMap(_cprequest.hookpoints)
    request.toolmaps = {"tools": {"sessions": settings}}
    cherrypy.serving.load(request, _cprequest.Response())
    try:
        yield
    finally:
        cherrypy.serving.clear()


def _for_the_class(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what CherryPy's tool leaves to the class."""
    return {key: value for key, value in settings.items() if key not in (*OF_THE_COOKIE, *OF_THE_TOOL)}


# -- where the tool is on ------------------------------------------------------------------------------------------


def places() -> Iterator[Place]:
    """Yield every place where an application that is mounted has the session tool on, with a class of ours."""
    seen: list[dict[str, Any]] = []
    for mounted, app in cherrypy.tree.apps.items():
        if not isinstance(app, cherrypy.Application):
            continue
        for path in dict.fromkeys(["/", *app.config, *_pages(app.root)]):
            config = _config_at(app, path) if path.startswith("/") else {}
            settings = {key[15:]: value for key, value in config.items() if key.startswith("tools.sessions.")}
            storage_class = settings.get("storage_class")
            if settings.get("on") and _is_ours(storage_class) and settings not in seen:
                seen.append(settings)
                yield Place((mounted + path).rstrip("/") or "/", storage_class, settings)


def _is_ours(storage_class: object) -> TypeGuard[type[StoreSession]]:
    return isinstance(storage_class, type) and issubclass(storage_class, StoreSession)


def _config_at(app: Any, path: str) -> dict[str, Any]:
    """Return the configuration for a path as CherryPy's dispatcher merges it."""
    node, at = app.root, ""
    config = {**cherrypy.config, **_own_config(node), **app.config.get("/", {})}
    for part in filter(None, path.split("/")):
        node, at = _child(node, part.replace(".", "_")), f"{at}/{part}"
        config.update({**_own_config(node), **app.config.get(at, {})})
    return config


def _pages(node: Any, path: str = "", depth: int = _DEPTH) -> Iterator[str]:
    """Yield the paths of the pages below an object that are configured in the code."""
    for name in _names(node) if depth else ():
        child = _child(node, name)
        if _own_config(child):
            yield f"{path}/{name}"
        if _has_pages(child):
            yield from _pages(child, f"{path}/{name}", depth - 1)


# Beside its pages a site has other things in its objects: a database that has a collection of whatever name it is asked
# for, a proxy of another server.  None of them is asked anything.


def _names(node: Any) -> list[str]:
    return [name for name in (dir(node) if isinstance(node, type) else object.__dir__(node))
            if not name.startswith("_")]


def _child(node: Any, name: str) -> Any:
    """Return what a name of an object stands for, unless that would run code of the application."""
    static = inspect.getattr_static(node, name, None)
    if isinstance(static, (staticmethod, classmethod, MethodType)):
        return static.__func__
    return None if hasattr(type(static), "__get__") and not isinstance(static, FunctionType) else static


def _own_config(thing: Any) -> dict[str, Any]:
    found = inspect.getattr_static(thing, "_cp_config", None)
    return found if isinstance(found, dict) else {}


def _is_page(thing: Any) -> bool:
    return isinstance(exposed := inspect.getattr_static(thing, "exposed", None), (bool, int)) and bool(exposed)


def _has_pages(thing: Any) -> bool:
    return thing is not None and not isinstance(thing, type) and not inspect.isroutine(thing) \
        and any(map(_is_page, (thing, *(_child(thing, name) for name in _names(thing)))))
