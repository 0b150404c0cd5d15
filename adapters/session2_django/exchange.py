"""`DjangoExchange`: one request of Django's and its response."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

from django.http.cookie import parse_cookie

from session2 import DictSession, Exchange
from session2.cookies import values_of
from session2.exchange import joined


class DjangoExchange(Exchange):
    """One request of Django's; what the response is to say is kept until there is one."""

    session: DictSession = None  # type: ignore[assignment]
    """As for any exchange; nobody asks for it before there is one."""

    is_over = False
    """Whether the request ended before anybody looked at its session."""

    def __init__(self, request: Any) -> None:
        self.request = request
        self._cookies: dict[str, tuple[str, dict[str, Any]]] = {}
        self.headers = []

    def get_cookie(self, name: str) -> str | None:
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        # The header as it came: of a name that is there twice Django keeps the last.
        found, other = values_of(self._cookie_header(), name), self.request.COOKIES.get(name)
        if not found and other is not None and other not in self._read_by_django(name):
            return [other]  # put there by a middleware, or by a test
        return found

    def _read_by_django(self, name: str) -> list[str | None]:
        """Return what Django may have read from the header: as this cookie, or as one with other space around it."""
        header = self.request.META.get("HTTP_COOKIE") or ""
        decoded = header.encode("latin-1", "replace").decode("utf-8", "replace")
        return [parse_cookie(header).get(name), parse_cookie(decoded).get(name)]

    def _cookie_header(self) -> str | None:
        header: str | None = self.request.META.get("HTTP_COOKIE")
        scope = getattr(self.request, "scope", None)
        if scope is None:
            return header
        # HTTP/2 allows several headers, and Django joins them with a comma.
        return "; ".join(value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie")

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        self._cookies[name] = value, attributes

    @property
    def remote_address(self) -> str | None:
        address: str | None = self.request.META.get("REMOTE_ADDR")
        return address

    @property
    def is_secure(self) -> bool:
        return bool(self.request.is_secure())

    @property
    def script_name(self) -> str:
        name: str = self.request.META.get("SCRIPT_NAME") or ""
        return name

    def post_value(self, name: str) -> str | None:
        if self.request.method != "POST":
            return None
        value: str | None = self.request.POST.get(name)
        return value

    def apply(self, response: Any) -> Any:
        """Return a response that tells the browser what it is to be told.

        It is a copy if there is a cookie: an application may use its response again, for another visitor.
        """
        if self._cookies:
            response = _copied(response)
        for name, (value, attributes) in self._cookies.items():
            response.cookies.pop(name, None)
            response.cookies[name] = value
            if attributes.pop("partitioned", False):  # which http.cookies knows from Python 3.14 on
                attributes["path"] += "; Partitioned"
            for attribute, given in attributes.items():
                response.cookies[name][attribute.replace("_", "-")] = given
        for name, value in self.headers:
            response.headers[name] = joined(response.headers.get(name), value)
        return response


def _copied(response: Any) -> Any:
    """Return a response with headers and cookies of its own."""
    copy: Any = object.__new__(type(response))
    vars(copy).update(vars(response))
    copy.headers = type(response.headers)(response.headers)
    copy.cookies = SimpleCookie()
    copy.cookies.update(response.cookies)
    return copy
