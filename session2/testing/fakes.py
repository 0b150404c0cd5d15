"""A clock to set and a request without a framework, for tests of stores, managers and session classes."""

from __future__ import annotations

import time
from typing import Any

from ..exchange import Exchange


class Clock:
    """A clock that stands still until it is moved.  It starts at the real time, for systems that have one too."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class FakeExchange(Exchange):
    """A request of a browser that keeps its cookies in a dict; remembers what it was sent.

    :param cookies: the browser's cookies; changed by what is sent.
    """

    session: Any
    remote_address = "192.0.2.1"
    is_secure = False
    script_name = ""

    def __init__(self, cookies: dict[str, str] | None = None, *, is_secure: bool = False, script_name: str = "",
                 form: dict[str, str] | None = None) -> None:
        self.cookies = {} if cookies is None else cookies
        self.is_secure = is_secure
        self.script_name = script_name
        self.form = form or {}
        self.sent: dict[str, tuple[str, dict[str, Any]]] = {}
        self.headers: list[tuple[str, str]] = []

    @property
    def cookie_sent(self) -> str | None:
        """The value of the session cookie it was answered with, "" where it was told to forget it."""
        return self.sent["session2"][0] if self.sent else None

    def get_cookie(self, name: str) -> str | None:
        return self.cookies.get(name)

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        self.sent[name] = (value, attributes)
        self.cookies[name] = value
        if attributes.get("max_age") == 0:
            del self.cookies[name]

    def post_value(self, name: str) -> str | None:
        return self.form.get(name)
