"""One request of a WSGI server, as far as sessions are concerned."""

from __future__ import annotations

from typing import Any

from session2 import Exchange
from session2.cookies import values_of


class WSGIExchange(Exchange):
    """Takes from the environment what it needs at once: who dispatches to another application changes it in place."""

    remote_address: str | None = None
    is_secure: bool = False
    script_name: str = ""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._cookies: str | None = environ.get("HTTP_COOKIE")
        self.remote_address = environ.get("REMOTE_ADDR") or None
        self.is_secure = environ.get("wsgi.url_scheme") == "https"
        self.script_name = environ.get("SCRIPT_NAME", "")
        self.headers = []

    def get_cookie(self, name: str) -> str | None:
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        return values_of(self._cookies, name)

    def add_header(self, name: str, value: str) -> None:
        if (name, value) not in self.headers:
            super().add_header(name, value)

    def added_to(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the headers of an application with those of its session."""
        if not self.headers:
            return headers
        own, self.headers = self.headers, list(headers)
        for name, value in own:
            if name == "Set-Cookie":
                self.headers.append((name, value))
            else:
                self.add_header(name, value)
        return self.headers
