"""`Exchange`: what a framework must supply of one request and its response, as far as sessions are concerned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from .cookies import CookiePolicy
from .session import Session

_DEFAULT_POLICY: Final = CookiePolicy()

Headers = list[tuple[str, str]]


class Exchange(ABC):
    """One request and its response.  An adapter translates; it decides nothing.

    By default `set_cookie` and `add_header` change the list `headers`, and the adapter sends what `added_to` makes of
    it; one whose response has headers of its own kind overrides them.
    """

    session: Session | None = None
    """The session of this request; set by the manager, read by the application."""

    visit: Any = None
    """The stay of this request in its session (`session2.visit.Visit`); the manager's."""

    cookie_policy: CookiePolicy | None = None
    """The policy of the framework's own configuration, for a manager that was made without one."""

    headers_sent: bool = False
    """Whether the headers of the response are out, and no cookie can be sent any more; an adapter says so."""

    headers: Headers
    """The headers of the response so far, for an adapter that overrides neither `set_cookie` nor `add_header`."""

    @abstractmethod
    def get_cookie(self, name: str) -> str | None:
        """Return the value of the request's cookie `name`, None if there is none."""

    def get_cookies(self, name: str) -> list[str]:
        """Return the values of all cookies of this name in the order they were sent: browsers may hold several.

        An adapter that can get at the raw header gives it to `session2.cookies.values_of`; by default there is the one
        that `get_cookie` knows.
        """
        value = self.get_cookie(name)
        return [] if value is None else [value]

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

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        """Send a cookie with the response, in place of one of this name that was set before.

        `attributes` are those of `CookiePolicy.attributes`: path (str), domain (str), max_age (int, seconds),
        secure, httponly, partitioned (only ever True) and samesite (str); what is not given is not sent.
        """
        self.headers[:] = [header for header in self.headers if not _sets(header, name)]
        self.headers.append(("Set-Cookie", set_cookie_header(name, value, attributes)))

    def add_header(self, name: str, value: str) -> None:
        """Add `value` to the comma-separated response header `name`, unless it is there."""
        if (name, value) not in self.headers:
            self.headers.append((name, value))

    def added_to(self, headers: Headers) -> Headers:
        """Return the headers of a response with those of the session, which go out now."""
        own, self.headers, self.headers_sent = self.headers, [], True
        for name, value in own:
            headers = [*headers, (name, value)] if name == "Set-Cookie" else _added(headers, name, value)
        return headers

    def post_value(self, name: str) -> str | None:
        """Return the field `name` of a posted form, None where the request is not a POST or the adapter cannot tell."""
        return None


def policy_of(given: CookiePolicy | None, exchange: Exchange) -> CookiePolicy:
    """Return how the cookie of a request is to be sent: as a manager was told, or as the framework is configured."""
    return given or exchange.cookie_policy or _DEFAULT_POLICY


def policy_with(given: CookiePolicy | None, exchange: Exchange, attributes: Mapping[str, Any]) -> CookiePolicy:
    """Return how a cookie is to be sent that differs in some attributes, also if it is sent again in this request."""
    wanted = {name: value for name, value in attributes.items() if (name, value) != ("max_age", 0)}  # of one revoked
    policy = replace(policy_of(given, exchange), **wanted)
    if wanted and exchange.visit is not None:
        exchange.visit.policy = policy
    return policy


def send_cookie(exchange: Exchange, policy: CookiePolicy, session_id: str | None) -> None:
    """Send the session cookie; without an id, make the browser forget it."""
    attributes = policy.attributes(exchange)
    if session_id is None:
        attributes["max_age"] = 0
    exchange.set_cookie(policy.name, session_id or "", **attributes)
    exchange.add_header("Cache-Control", "no-store")


_ATTRIBUTES: Final = {"path": "Path", "domain": "Domain", "max_age": "Max-Age", "samesite": "SameSite",
                      "secure": "Secure", "httponly": "HttpOnly", "partitioned": "Partitioned"}


def set_cookie_header(name: str, value: str, attributes: dict[str, Any]) -> str:
    """Return the value of a ``Set-Cookie`` header, with the attributes of `CookiePolicy.attributes`."""
    parts = [f"{name}={value}"]
    for attribute, given in attributes.items():
        parts.append(_ATTRIBUTES[attribute] if given is True else f"{_ATTRIBUTES[attribute]}={given}")
    return "; ".join(parts)


def joined(present: str | None, value: str) -> str:
    """Return a comma-separated header with `value` added to what is present, each token once whatever its case."""
    if not present or present == value:  # as nearly always
        return value
    there = [part.strip() for part in present.split(",") if part.strip()]
    known = {part.lower() for part in there}
    return ", ".join([*there, *(part for part in value.split(", ") if part.lower() not in known)])


def _added(headers: Headers, name: str, value: str) -> Headers:
    own = name.lower()
    present = [header for header in headers if header[0].lower() == own]
    if not present:
        return [*headers, (name, value)]
    others = [header for header in headers if header not in present]
    return [*others, (name, joined(", ".join([found for _, found in present]), value))]


def _sets(header: tuple[str, str], cookie: str) -> bool:
    return header[0].lower() == "set-cookie" and header[1].startswith(f"{cookie}=")


def in_progress() -> Exchange:
    """Return the exchange of the request Quixote is processing: its Publisher calls a manager without any."""
    from session2_quixote import current_exchange

    return cast(Exchange, current_exchange())
