"""Beaker's options, as configuration files have them, translated: `from_beaker_config`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from session2 import ConfigurationError, CookiePolicy, DictSession, SessionManager
from session2.clocks import DAY
from session2.store.base import SessionStore

from .beaker import Beaker
from .storage import Options, kind_of, store_of
from .values import NO, YES, number, truth

log = logging.getLogger("session2")

_PREFIXES: Final = ("beaker.session.", "session.", "session_")

_HONOURED: Final = frozenset((
    "auto", "cookie_domain", "cookie_expires", "cookie_path", "data_dir", "data_serializer", "enabled", "encrypt_key",
    "httponly", "invalidate_corrupt", "key", "samesite", "save_accessed_time", "secure", "tg_avoid_touch", "timeout",
    "type", "url", "urls", "sa.url", "use_cookies", "validate_key", "webtest_varname"))

_NO_EFFECT: Final = {
    "secret": "an id that was not issued is never taken on, so it needs no signature",
    "encrypt_nonce_bits": "the nonce has 96 random bits",
    "crypto_type": "AES-256-GCM of the package cryptography is used",
    "log_file": "what there is to tell goes to the logger session2",
    **dict.fromkeys(("lock_dir", "digest_filenames", "file_dir", "dbm_dir", "dbmmodule", "table_name", "sa_opts",
                     "optimistic", "schema_name", "lock_timeout", "memcache_module", "protocol",
                     "memcached_prefix"),
                    "the store of session2 has no use for it")}

_REFUSED: Final = {
    "session_class": "give session_class=, derived from session2.DictSession",
    "namespace_class": "give store=, a store of session2",
    **dict.fromkeys(("bind", "table"), "give store=, or its URL"),
    "id": "all visitors would have one session",
}

_FOR_EVER: Final = 400 * DAY
"""No browser keeps a cookie for longer."""


class Translation(NamedTuple):
    """What a configuration for Beaker comes to: ``SessionMiddleware(app, manager, **settings)``."""

    manager: SessionManager[DictSession]
    settings: dict[str, Any]
    notes: list[str]
    """What has no effect, and why; it is logged too."""


def from_beaker_config(config: Mapping[str, Any], *, store: SessionStore | str | None = None,
                       **options: Any) -> Translation:
    """Translate the options ``session.*`` or ``beaker.session.*``; all others are left alone.

    :param store: a store, or its URL, in place of the one that ``type``, ``data_dir`` and ``url`` describe.
    :param options: arguments of `SessionManager` that replace or complement what is translated.
    :raises ConfigurationError: for an option that does not exist or cannot be honoured, where that would lower the
        security or lose data.
    """
    found = _found(config)
    notes = [f"session.{name} has no effect: {_why(name)}" for name in found if _why(name)]
    notes += _warnings(found, store)
    for note in notes:
        log.warning("%s", note)
    manager = SessionManager(store_of(found, store), **{
        "session_class": DictSession, "cookie": _cookie(found), **_clocks(found),
        "unreadable": "new" if truth(found, "invalidate_corrupt", True) else "refuse", **options})
    return Translation(manager, {"beaker": _settings(config, found)}, notes)


def _found(config: Mapping[str, Any]) -> Options:
    found = {name[len(prefix):]: value for name, value in config.items() for prefix in _PREFIXES
             if name.startswith(prefix)}
    for name, value in found.items():
        if name in _REFUSED and value is not None:
            raise ConfigurationError(f"session.{name} cannot be honoured: {_REFUSED[name]}")
        if name not in (*_HONOURED, *_REFUSED) and not _why(name):
            near = "".join(f"; did you mean {other!r}?" for other in get_close_matches(name, sorted(_HONOURED), 1))
            raise ConfigurationError(f"no option of Beaker is called session.{name}{near}")
    if not truth(found, "use_cookies", True):
        raise ConfigurationError("session.use_cookies = false cannot be honoured: without a cookie no session is found")
    if "cache_dir" in config and found.get("type") in (None, "file"):  # TurboGears' default
        found.setdefault("data_dir", str(Path(config["cache_dir"], "sessions")))
    return found


def _why(name: str) -> str | None:
    """Return why an option has no effect, None if it has one; those of SQLAlchemy's engine have names of their own."""
    of_the_engine = name.startswith("sa.") and name not in _HONOURED
    return "the store of session2 has no use for it" if of_the_engine else _NO_EFFECT.get(name)


def _warnings(found: Options, store: object) -> Iterator[str]:
    if "enabled" in found and truth(found, "enabled", True):
        yield "session.enabled must be false for TurboGears itself, or it puts Beaker's sessions in the place of these"
    if found.get("timeout") is None and truth(found, "save_accessed_time", True):
        yield "session.timeout is not set: a session ends after 14 days without use, not never"
    if found.get("validate_key") and kind_of(found) != "cookie":
        yield "session.validate_key has no effect: only sessions in cookies need it"
    if store is None and kind_of(found) == "memory":
        yield "sessions are kept in the memory of this process alone, as Beaker does if nothing is said"


def _settings(config: Mapping[str, Any], found: Options) -> Beaker:
    avoids_touch = truth(found, "tg_avoid_touch", False) or truth(config, "i18n.no_session_touch", False)
    return Beaker(auto=truth(found, "auto", False), testing_name=found.get("webtest_varname"),
                  unnoticed=config.get("i18n.lang_session_key", "tg_lang") if avoids_touch else None)


def _cookie(found: Options) -> CookiePolicy:
    samesite: Any = found.get("samesite", CookiePolicy.samesite)
    if isinstance(samesite, str):
        samesite = samesite.capitalize()
    return CookiePolicy(
        found.get("key", "beaker.session.id"), path=found.get("cookie_path", "/"), domain=found.get("cookie_domain"),
        secure=truth(found, "secure", None), httponly=truth(found, "httponly", True),
        samesite=samesite, max_age=_max_age(found))


def _max_age(found: Options) -> float | None:
    value = found.get("cookie_expires", True)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if str(value).lower() in (*YES[:-1], *NO[:-1]):
        return None if str(value).lower() in YES else _FOR_EVER
    return number("cookie_expires", value)


def _clocks(found: Options) -> Options:
    timeout = found.get("timeout")
    if truth(found, "save_accessed_time", True):
        return {} if timeout is None else {"idle_timeout": number("timeout", timeout)}
    if timeout is not None:
        raise ConfigurationError("session.timeout needs session.save_accessed_time")
    return {"idle_timeout": None, "touch_interval": 90 * DAY}  # reading is never noted
