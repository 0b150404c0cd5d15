"""`EnvironExchange`: a request as WSGI describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .cookies import values_of
from .exchange import Exchange


class EnvironExchange(Exchange):
    """What the environ of WSGI tells of a request; what is to be told the browser is collected in `headers`.

    The environ itself is not kept: frameworks put their requests into it, with uploads and all.
    """

    remote_address: str | None = None
    is_secure: bool = False
    script_name: str = ""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._cookies: str | None = environ.get("HTTP_COOKIE")
        self.remote_address = environ.get("REMOTE_ADDR")
        self.is_secure = environ.get("wsgi.url_scheme") == "https"
        self.script_name = environ.get("SCRIPT_NAME", "")
        self.headers = []

    def get_cookie(self, name: str) -> str | None:
        """Return the first cookie called `name`."""
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        """Return all cookies called `name`."""
        return values_of(self._cookies, name)
