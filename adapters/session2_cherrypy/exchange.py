"""One request of CherryPy and its response, as far as sessions are concerned."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import format_datetime
from http.cookies import Morsel
from typing import Any

from session2 import Exchange
from session2.cookies import values_of
from session2.exchange import joined

EPOCH = format_datetime(datetime.fromtimestamp(0, timezone.utc), usegmt=True)


class CherryPyExchange(Exchange):
    """Collects what is to be told the browser; `emit` puts it into the response, once that is past its last error.

    CherryPy throws Vary and other headers away when it turns an exception into a response, so nothing may be set
    before.
    """

    sends_expires = True
    """Whether a Max-Age is accompanied by an Expires, as CherryPy does for the sake of browsers of the nineties."""

    def __init__(self, request: Any, response: Any) -> None:
        self.request = request
        self.response = response
        self.cookies: dict[str, tuple[str, dict[str, Any]]] = {}
        self.headers: list[tuple[str, str]] = []
        self._has_news = False

    def carry_on(self, earlier: CherryPyExchange) -> None:
        """Take over what a request that was redirected internally was to tell the browser: its response is lost."""
        self.cookies.update(earlier.cookies)
        self.headers += earlier.headers
        self._has_news = True

    def get_cookie(self, name: str) -> str | None:
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        if name in self.cookies:
            return [self.cookies[name][0]]
        # The headers as they came: Python's parser, which CherryPy's cookies are read with, gives up at what it does
        # not expect, and with a name that is there twice it keeps the last.
        found: list[str] = []
        for header, value in self.request.header_list:
            if len(header) == 6 and header.lower() == "cookie":
                found += values_of(value, name)
        return found

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        self.cookies[name] = value, attributes
        self._has_news = True

    def add_header(self, name: str, value: str) -> None:
        if (name, value) not in self.headers:
            self.headers.append((name, value))
            self._has_news = True

    @property
    def remote_address(self) -> str | None:
        return self.request.remote.ip or None

    @property
    def is_secure(self) -> bool:
        # The base is what tools.proxy corrects when a proxy speaks TLS for us; the scheme is not.
        return bool(self.request.base.startswith("https:"))

    @property
    def script_name(self) -> str:
        return str(self.request.script_name)

    @property
    def headers_sent(self) -> bool:  # type: ignore[override]  # CherryPy knows it itself
        return self.response.header_list is not None

    def post_value(self, name: str) -> str | None:
        try:
            value = self.request.body.params.get(name) if self.request.method == "POST" else None
        except ReferenceError:  # the request is over
            return None
        return value if isinstance(value, str) else None

    def is_emitted(self) -> bool:
        """Tell whether all is in the response: of that CherryPy throws away Vary where it makes an error of it."""
        return not self._has_news and (not self.headers or "Vary" in self.response.headers)

    def emit(self) -> None:
        """Put the cookies and headers into the response; harmless when repeated."""
        self._has_news = False
        for name, (value, attributes) in self.cookies.items():
            self.response.cookie[name] = _morsel(name, value, attributes, self.sends_expires)
        for name, value in self.headers:
            self.response.headers[name] = joined(self.response.headers.get(name), value)


class SentMorsel(Morsel):  # type: ignore[type-arg]
    """A morsel that knows CHIPS before Python 3.14 does."""

    _reserved = {**Morsel._reserved, "partitioned": "Partitioned"}  # type: ignore[attr-defined]
    _flags = {*Morsel._flags, "partitioned"}  # type: ignore[attr-defined]


def _morsel(name: str, value: str, attributes: dict[str, Any], sends_expires: bool) -> SentMorsel:
    morsel = SentMorsel()
    morsel.set(name, value, value)
    for attribute, wanted in attributes.items():
        morsel[attribute.replace("_", "-")] = wanted
    if "max_age" in attributes and sends_expires:
        morsel["expires"] = attributes["max_age"] or EPOCH
    return morsel
