"""`CookiePolicy`: what the session cookie looks like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol
from urllib.parse import quote

from .errors import ConfigurationError

SameSite = Literal["Lax", "Strict", "None"]


class Place(Protocol):
    """Where a request came to: `session2.Exchange` tells."""

    @property
    def is_secure(self) -> bool: ...
    @property
    def script_name(self) -> str: ...


@dataclass(frozen=True)
class CookiePolicy:
    """How the session cookie is named and sent.  Impossible combinations are refused when the policy is made.

    :param name: a ``__Host-`` or ``__Secure-`` prefix is enforced by browsers, and here.
    :param path: default: where the application is mounted.
    :param domain: default: the host that set it, without its subdomains.
    :param secure: default (None): when the request is.
    :param samesite: "None" needs ``secure=True``.
    :param max_age: seconds or timedelta for which the browser keeps the cookie; default: until it is closed.
        The cookie is sent again whenever the idle clock is moved.
    :param partitioned: a separate cookie for each embedding site (CHIPS); needs ``secure=True``.
    """

    name: str = "session2"
    path: str | None = None
    domain: str | None = None
    secure: bool | None = None
    httponly: bool = True
    samesite: SameSite | None = "Lax"
    max_age: float | timedelta | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        _check_text("name", self.name, forbidden='()<>@,;:\\"/[]?={} \t')
        _check_text("path", self.path, forbidden=";")
        _check_text("domain", self.domain, forbidden="; ,")
        seconds = self._max_age()
        if seconds is not None and seconds <= 0:
            raise ConfigurationError(f"max_age must be a positive number of seconds, not {self.max_age!r}")
        if self.samesite not in ("Lax", "Strict", "None", None):
            raise ConfigurationError(f"samesite must be 'Lax', 'Strict', 'None' or None, not {self.samesite!r}")
        for needs, what in ((self.samesite == "None", 'samesite="None"'), (self.partitioned, "partitioned"),
                            (self.name.startswith(("__Host-", "__Secure-")), "a cookie prefix")):
            if needs and self.secure is not True:
                raise ConfigurationError(f"{what} needs secure=True")
        if self.name.startswith("__Host-") and (self.domain is not None or self.path not in (None, "/")):
            raise ConfigurationError('a __Host- cookie has path="/" and no domain')

    def attributes(self, request: Place) -> dict[str, Any]:
        """Return the attributes a cookie of this policy is sent with in answer to this request."""
        found = {
            "path": self._path(request.script_name),
            "domain": self.domain,
            "max_age": self._max_age(),
            "secure": request.is_secure if self.secure is None else self.secure,
            "httponly": self.httponly,
            "samesite": self.samesite,
            "partitioned": self.partitioned,
        }
        return {name: value for name, value in found.items() if value is not None and value is not False}

    def _path(self, script_name: str) -> str:
        if self.path is not None:
            return self.path
        if self.name.startswith("__Host-"):
            return "/"
        # As browsers write it, or they would not find it in the URL; and nothing in it can end the attribute.
        return quote(script_name.rstrip("/") + "/", "/!$&'()*+,=:@[]|", "latin-1", "replace")

    def _max_age(self) -> int | None:
        seconds = self.max_age.total_seconds() if isinstance(self.max_age, timedelta) else self.max_age
        return None if seconds is None else int(seconds)  # browsers ignore a fraction, and all of the attribute with it


def values_of(header: str | None, name: str) -> list[str]:
    """Return the values of all cookies called `name` in a ``Cookie`` header, the most specific first, as browsers send.

    Only a semicolon ends a cookie: what others put into theirs, a quote that is never closed say, hides none of ours.
    """
    pairs = (part.partition("=") for part in (header or "").split(";"))
    return [_unquoted(value.strip()) for found, equals, value in pairs if equals and found.strip() == name]


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _check_text(what: str, text: str | None, forbidden: str) -> None:
    if text is None:
        return
    if not text or any(char in forbidden or not " " <= char <= "~" for char in text):
        raise ConfigurationError(f"a cookie {what} cannot be {text!r}")
