"""What a framework must supply of one request (`Exchange`), and what the session cookie looks like (`CookiePolicy`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .manager import Visit
    from .session import Session

SameSite = Literal["Lax", "Strict", "None"]


class Exchange(ABC):
    """One request and its response, as far as sessions are concerned.  An adapter translates; it decides nothing."""

    session: Session | None = None
    """The session of this request; set by the manager, read by the application."""

    visit: Visit | None = None
    """The manager's notes about this request."""

    cookie_policy: CookiePolicy | None = None
    """The policy of the framework's own configuration, for a manager that was made without one."""

    @abstractmethod
    def get_cookie(self, name: str) -> str | None:
        """Return the value of the request's cookie `name`, None if there is none."""

    @abstractmethod
    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        """Send a cookie with the response.

        `attributes` are those of `CookiePolicy.attributes`: path (str), domain (str), max_age (int, seconds),
        secure, httponly, partitioned (only ever True) and samesite (str); what is not given is not sent.
        """

    @abstractmethod
    def add_header(self, name: str, value: str) -> None:
        """Add `value` to the comma-separated response header `name`, unless it is there."""

    @property
    @abstractmethod
    def remote_address(self) -> str | None:
        """The address the request came from."""

    @property
    @abstractmethod
    def is_secure(self) -> bool:
        """Whether the request came over HTTPS."""

    @property
    @abstractmethod
    def script_name(self) -> str:
        """The path the application is mounted at, "" for the root; as in WSGI, unquoted and its bytes as Latin-1."""

    def post_value(self, name: str) -> str | None:
        """Return the field `name` of a posted form, None where the request is not a POST or the adapter cannot tell."""
        return None


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

    def attributes(self, exchange: Exchange) -> dict[str, Any]:
        """Return the attributes a cookie of this policy is sent with in answer to this request."""
        found = {
            "path": self._path(exchange),
            "domain": self.domain,
            "max_age": self._max_age(),
            "secure": exchange.is_secure if self.secure is None else self.secure,
            "httponly": self.httponly,
            "samesite": self.samesite,
            "partitioned": self.partitioned,
        }
        return {name: value for name, value in found.items() if value is not None and value is not False}

    def _path(self, exchange: Exchange) -> str:
        if self.path is not None:
            return self.path
        if self.name.startswith("__Host-"):
            return "/"
        # As browsers write it, or they would not find it in the URL; and nothing in it can end the attribute.
        return quote(exchange.script_name.rstrip("/") + "/", "/!$&'()*+,=:@[]|", "latin-1", "replace")

    def _max_age(self) -> int | None:
        seconds = self.max_age.total_seconds() if isinstance(self.max_age, timedelta) else self.max_age
        return None if seconds is None else int(seconds)  # browsers ignore a fraction, and all of the attribute with it


def _check_text(what: str, text: str | None, forbidden: str) -> None:
    if text is None:
        return
    if not text or any(char in forbidden or not " " <= char <= "~" for char in text):
        raise ConfigurationError(f"a cookie {what} cannot be {text!r}")
