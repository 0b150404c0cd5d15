"""The names of Pazzo: its settings, and its ``Session(environ)``, whose every access asks the store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import quote

from session2 import ConfigurationError, CookiePolicy, DictSession, PickleSerializer, SessionManager, Signed
from session2.live import LiveSession

DEFAULTS: Final[Mapping[str, Any]] = {
    "SESSION_COOKIE_AGE": 1209600,
    "SESSION_EXPIRE_AT_BROWSER_CLOSE": False,
    "SESSION_COOKIE_NAME": "sessionid",
    "SESSION_COOKIE_DOMAIN": None,
    "SESSION_COOKIE_PATH": "/",
    "SESSION_COOKIE_SECURE": None,
    "SESSION_COOKIE_HTTPONLY": None,
    "SESSION_COOKIE_SAMESITE": CookiePolicy.samesite,
    "REDIS_POOL_MAX_CONNECTIONS": 20,
    "REDIS_SESSIONS_HOST": "localhost",
    "REDIS_SESSIONS_PORT": 6379,
    "REDIS_SESSIONS_DB": 15,
    "REDIS_SESSIONS_URL": None,
    "REDIS_SESSIONS_PASSWORD": None,
}
"""What holds where the settings say nothing: Pazzo's, but for a domain of the cookie that no browser accepts."""

_NOWHERE: Final = ("127.0.0.1", "")
"""What stands for no domain of the cookie; the first is Pazzo's default, and an address can be none."""


def from_pazzo_settings(settings: object) -> SessionManager[DictSession]:
    """Return a manager over Redis for the settings of Pazzo: SESSION_COOKIE_*, REDIS_SESSIONS_*, SESSION_SECRET_KEY.

    What is stored is signed with the secret.  Sessions that Pazzo stored are not read: it unpickled before it looked at
    the signature.

    :param settings: the module with the settings, or ``django.conf.settings``.

    Raises `ConfigurationError` if there is no secret, or if a setting cannot work.
    """
    from session2.store.redis import RedisSessionStore

    _check_names(settings)
    given = {name: getattr(settings, name, default) for name, default in DEFAULTS.items()}
    secret = getattr(settings, "SESSION_SECRET_KEY", None)
    if not secret:
        raise ConfigurationError("set SESSION_SECRET_KEY to a secret of session2.get_secret(): it signs what is stored")
    store = RedisSessionStore(_url(given), prefix="pazzo:", pool_size=_whole("REDIS_POOL_MAX_CONNECTIONS", given),
                              serializer=Signed(PickleSerializer(), secret))
    return SessionManager(store, DictSession, cookie=_policy(given), idle_timeout=given["SESSION_COOKIE_AGE"])


def _check_names(settings: object) -> None:
    """Refuse a setting of Pazzo's that is misspelt: sessions would be sought on this machine."""
    for name in dir(settings):
        if name.startswith("REDIS_") and name not in DEFAULTS and (near := get_close_matches(name, DEFAULTS, 1, 0.8)):
            raise ConfigurationError(f"Pazzo has no setting {name}; did you mean {near[0]}?")


def _url(given: Mapping[str, Any]) -> str:
    """Return where Redis is: of a URL that was given the database is the other setting's, as in Pazzo."""
    database = _whole("REDIS_SESSIONS_DB", given)
    if given["REDIS_SESSIONS_URL"]:
        return re.sub("^(rediss?://[^/?]*)(/[^?]*)?", rf"\1/{database}", str(given["REDIS_SESSIONS_URL"]))
    password, host = given["REDIS_SESSIONS_PASSWORD"], str(given["REDIS_SESSIONS_HOST"])
    login = f":{quote(password, '')}@" if password else ""
    place = f"[{host}]" if ":" in host else host
    return f"redis://{login}{place}:{_whole('REDIS_SESSIONS_PORT', given)}/{database}"


def _whole(name: str, given: Mapping[str, Any]) -> int:
    try:
        return int(given[name])
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name} must be a whole number, not {given[name]!r}") from None


def _policy(given: Mapping[str, Any]) -> CookiePolicy:
    domain, httponly = given["SESSION_COOKIE_DOMAIN"], given["SESSION_COOKIE_HTTPONLY"]
    return CookiePolicy(
        given["SESSION_COOKIE_NAME"], path=given["SESSION_COOKIE_PATH"],
        domain=None if domain in _NOWHERE else domain, secure=given["SESSION_COOKIE_SECURE"],
        httponly=True if httponly is None else httponly, samesite=given["SESSION_COOKIE_SAMESITE"] or None,
        max_age=None if given["SESSION_EXPIRE_AT_BROWSER_CLOSE"] else given["SESSION_COOKIE_AGE"])


class Session(LiveSession):
    """The session of a request inside `SessionMiddleware`, live, with the methods of Pazzo's besides.

    :param environ: of WSGI, ``request.environ`` in Flask.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        try:
            self._held = environ["session2.session"]
        except KeyError:
            raise ConfigurationError("there is no session in the environ: wrap the application in "
                                     "session2_wsgi.SessionMiddleware(app, from_pazzo_settings(settings))") from None
        super().__init__(self._held._manager, self._held.session)

    @property
    def session_key(self) -> str:
        """What the cookie carries, or will carry if there is something to store."""
        return str(self._held.id)

    def save(self) -> None:
        """Do nothing: every change is stored already."""

    def flush(self) -> None:
        """Log out: the session ends when the request succeeds, and an empty one stands in its place."""
        self._held.delete()
        super().__init__(self._held._manager, self._held.session)

    def cycle_key(self) -> None:
        """Give the session a new id; the old one is dead when the request has succeeded."""
        self._held.regenerate()

    def set_test_cookie(self) -> None:
        """Set an item by which another request sees that the browser keeps cookies."""
        self["testcookie"] = "worked"

    def test_cookie_worked(self) -> bool:
        """Tell whether the browser kept the cookie."""
        return self.get("testcookie") == "worked"

    def delete_test_cookie(self) -> None:
        """Remove that item."""
        self.pop("testcookie", None)
