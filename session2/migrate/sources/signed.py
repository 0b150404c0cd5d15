"""Sessions that travel in a signed cookie: Flask's own, Django's ``signed_cookies``, Beaker's ``cookie``.

Nobody has a list of them; each comes with its visitor, as the id by which it is found.
"""

from __future__ import annotations

import re
import uuid
from abc import abstractmethod
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ...clocks import DAY
from ..known import Unreadable
from ..signatures import checked, of_beaker, of_django, of_itsdangerous, time_of_itsdangerous
from ..source import Former, Skipped, Unlisted, attempt
from ..unpickle import Unpickler
from . import beaker, django, flask_session
from .texts import from_base64, from_json, inflated

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class SignedCookies(Unlisted):
    """A source of what comes in cookies.

    :param secrets: with which they may be signed.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = checked(secrets)

    @abstractmethod
    def unsigned(self, value: str) -> str | None:
        """Return what was signed, None if it was with no secret that is known."""

    @abstractmethod
    def read(self, id: str, text: str) -> Former:
        """Return the session in what was signed."""

    def signed(self, value: str) -> str | None:
        """Return the value of a cookie as it is, which is its id, if it is signed: for a `FormerCookie`."""
        return None if self.unsigned(value) is None else value

    def find(self, id: str) -> Former | Skipped | None:
        text = self.unsigned(id)
        return None if text is None else attempt(id, lambda: self.read(id, text))


class Flask(SignedCookies):
    """Flask's own sessions.

    :param secrets: SECRET_KEY, and those of SECRET_KEY_FALLBACKS.
    :param lifetime: PERMANENT_SESSION_LIFETIME, in seconds.
    :param user_key: see `session2.migrate.sources.flask_session.Reader`.
    """

    def __init__(self, secrets: Sequence[str], *, lifetime: float = 31 * DAY,
                 user_key: str = flask_session.USER) -> None:
        super().__init__(secrets)
        self._lifetime, self._user_key = lifetime, user_key

    def unsigned(self, value: str) -> str | None:
        return of_itsdangerous(value, "cookie-session", self._secrets)

    def read(self, id: str, text: str) -> Former:
        payload, _, seconds = text.rpartition(".")
        time = time_of_itsdangerous(from_base64(seconds))
        data = inflated(from_base64(payload[1:])) if payload.startswith(".") else from_base64(payload)
        return flask_session.former(id, _untagged(from_json(data)), self._user_key, time, time + self._lifetime)


def _untagged(value: Any) -> Any:
    """Return what Flask's JSON with tags stands for."""
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _untagged(item) for name, item in value.items()}
    name = next(iter(found)) if len(found) == 1 else ""
    try:
        return _TAGS[name](found[name]) if name in _TAGS else found
    except (TypeError, ValueError, AttributeError):
        raise Unreadable("it is damaged") from None


def _markup(text: str) -> Any:
    try:
        from markupsafe import Markup  # which Flask has brought along
    except ImportError:
        return text
    return Markup(text)  # noqa: S704 (it was when it was signed)


_TAGS: Final[dict[str, Callable[[Any], Any]]] = {
    " di": lambda pair: {name[:-2]: item for name, item in pair.items()},
    " t": tuple, " b": from_base64, " u": uuid.UUID, " m": _markup, " d": parsedate_to_datetime}


class Django(SignedCookies):
    """Django's ``signed_cookies``, from 1.4 on.

    :param secrets: SECRET_KEY, and those of SECRET_KEY_FALLBACKS.
    :param cookie_age: SESSION_COOKIE_AGE, in seconds.
    """

    def __init__(self, secrets: Sequence[str], *, cookie_age: float = 14 * DAY,
                 unpickler: Unpickler | None = None) -> None:
        super().__init__(secrets)
        self._age, self._decoder = cookie_age, django.Decoder(unpickler or Unpickler(), "")

    def unsigned(self, value: str) -> str | None:
        return of_django(value, "django.contrib.sessions.backends.signed_cookies", self._secrets)

    def read(self, id: str, text: str) -> Former:
        payload, _, digits = text.rpartition(":")
        if not re.fullmatch("[0-9A-Za-z]{1,10}", digits, re.ASCII):
            raise Unreadable("it is damaged")
        time = 0.0
        for digit in digits:
            time = time * 62 + _BASE62.index(digit)
        return django.former(id, self._decoder.unpacked(payload), time, time + self._age)


class Beaker(SignedCookies):
    """Beaker's ``cookie``.

    :param secrets: Beaker's ``session.validate_key``, in a list.
    :param encrypt_key: Beaker's ``session.encrypt_key``, if there is one.
    :param timeout: see `session2.migrate.sources.beaker.Reader`; likewise `user_key`.
    """

    def __init__(self, secrets: Sequence[str], *, timeout: float = 0.0, user_key: str = "",
                 encrypt_key: str = "", unpickler: Unpickler | None = None) -> None:
        super().__init__(secrets)
        keys = beaker.Keys(encrypt_key, self._secrets[0])
        self._reader = beaker.Reader(unpickler or Unpickler(), timeout, user_key, keys)

    def unsigned(self, value: str) -> str | None:
        return of_beaker(value, self._secrets)

    def read(self, id: str, text: str) -> Former:
        return self._reader.former(id, text)
