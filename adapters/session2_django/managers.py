"""From Django's settings to a session manager, and to the clocks and the cookie of a session."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from session2 import ConfigurationError, CookiePolicy, DictSession, SessionManager, from_url
from session2.clocks import DAY, Clocks
from session2.mutex import Mutex
from session2.store.base import SessionStore
from session2.variants import for_mappings

Manager = SessionManager[DictSession]

_stores: Final[dict[str, SessionStore]] = {}
_making: Final = Mutex()

_PATIENCE: Final = 60.0
"""Seconds to wait for whoever opens another store."""

_AT_ONCE: Final = 1e-6
"""Seconds that a session lives whose expiry is past already."""


def current_manager() -> Manager:
    """Return the session manager that the settings ask for."""
    place = _place()
    if place is None:
        return _own()
    manager = getattr(*place, None)
    if not isinstance(manager, SessionManager):
        raise ConfigurationError(f"SESSION2_MANAGER must name a session2.SessionManager; it is {manager!r}")
    return for_mappings(manager)


@lru_cache(maxsize=1)
def _place() -> tuple[Any, str] | None:
    """Return the module and the name that SESSION2_MANAGER means, None if there is no such setting."""
    name = getattr(settings, "SESSION2_MANAGER", None)
    if name is None:
        return None
    try:
        import_string(name)
    except ImportError as error:
        raise ConfigurationError(f"SESSION2_MANAGER: {error}") from error
    module, _, attribute = name.rpartition(".")
    return import_module(module), attribute


@lru_cache(maxsize=1)
def _own() -> Manager:
    """Return a manager whose idle clock is Django's; one that is set longer than any session lives prolongs that."""
    url, age = getattr(settings, "SESSION2_STORE", None), settings.SESSION_COOKIE_AGE
    if not isinstance(url, str):
        raise ConfigurationError("Django's settings must say where sessions are kept: SESSION2_STORE, for example "
                                 "'directory:/var/lib/sessions?create=true', or SESSION2_MANAGER, the dotted name of "
                                 "a session2.SessionManager")
    store = _making.run(partial(_opened, url), _PATIENCE, "the session store is still being opened")
    if not isinstance(age, (int, float)) or isinstance(age, bool):
        raise ConfigurationError(f"SESSION_COOKIE_AGE must be a number of seconds, not {age!r}")
    return SessionManager(store, DictSession, idle_timeout=max(age, _AT_ONCE), lifetime=max(age, 90 * DAY),
                          touch_interval=0 if settings.SESSION_SAVE_EVERY_REQUEST else None)


def _opened(url: str) -> SessionStore:
    if url not in _stores:
        store = from_url(url)
        store.setup()
        _stores[url] = store
    return _stores[url]


# -- clocks -----------------------------------------------------------------------------------------------------------


lenient: Final = partial(for_mappings, idle_timeout=None)
"""The manager without its idle clock: to find also what `set_expiry` has given a longer one."""


def with_clocks(manager: Manager, clocks: Clocks) -> Manager:
    """Return the manager if it has these clocks, else a copy that has."""
    if clocks is manager.clocks:
        return manager
    variant = copy.copy(manager)
    variant.clocks = clocks
    return variant


def own_clocks(clocks: Clocks, age: float, expiry: object, created: float) -> Clocks:
    """Return the clocks of a session, given those of its manager, which end it at its lifetime in any case.

    :param age: what Django calls the cookie age.
    :param expiry: what `set_expiry` left: seconds unused, a moment, or nothing.
    """
    if not expiry and (age == clocks.idle or age == default_age(clocks)):
        return clocks
    idle, lifetime = None, clocks.lifetime
    if isinstance(expiry, (str, datetime)):
        moment = datetime.fromisoformat(expiry) if isinstance(expiry, str) else expiry
        lifetime = max(min(moment.timestamp() - created, lifetime or math.inf), _AT_ONCE)
    else:
        idle = max(float(expiry or age), _AT_ONCE)  # type: ignore[arg-type]
    return _changed(clocks, idle, lifetime)


@lru_cache(maxsize=64)
def _changed(clocks: Clocks, idle: float | None, lifetime: float | None) -> Clocks:
    return replace(clocks, idle=idle, lifetime=lifetime, touch=min(clocks.touch_interval, (idle or lifetime or 0) / 10))


def default_age(clocks: Clocks) -> float:
    """Return the seconds that Django is to take for the cookie age: the manager's idle clock, if it has one."""
    return clocks.idle or clocks.lifetime or settings.SESSION_COOKIE_AGE


# -- the cookie -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def cookie_policy(max_age: float | None) -> CookiePolicy:
    """Return the policy for Django's settings; over HTTPS the cookie is Secure unless that is switched off."""
    secure = settings.SESSION_COOKIE_SECURE
    return CookiePolicy(
        name=settings.SESSION_COOKIE_NAME,
        path=settings.SESSION_COOKIE_PATH or None,
        domain=settings.SESSION_COOKIE_DOMAIN or None,
        secure=bool(secure) if settings.is_overridden("SESSION_COOKIE_SECURE") else None,
        httponly=bool(settings.SESSION_COOKIE_HTTPONLY),
        samesite=settings.SESSION_COOKIE_SAMESITE or None,
        max_age=max_age,
    )


@lru_cache(maxsize=16)
def usual_policy(age: float) -> CookiePolicy:
    """Return the policy for a session that was told no expiry of its own."""
    return cookie_policy(None if settings.SESSION_EXPIRE_AT_BROWSER_CLOSE else cookie_age(age))


def cookie_age(seconds: float) -> float:
    """Return the next to so many seconds that a cookie can be told; one that is over is not sent again anyway."""
    return min(max(seconds, 1), 2 ** 31 - 1)


def _read_anew(**_: Any) -> None:
    """Forget what was read of the settings, once and not at each request: they have changed, as in a test."""
    for read in (_place, _own, cookie_policy, usual_policy):
        read.cache_clear()


setting_changed.connect(_read_anew)
