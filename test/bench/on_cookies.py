"""Sessions in cookies: by hand, ours, Beaker's and Django's, from the Cookie header to the Set-Cookie header."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beaker.session import CookieSession
from cases import STATE, Actions, Case, look, use
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from session2 import DictSession, Exchange, SessionManager, get_secret
from session2.cookies import values_of
from session2.store.cookie import CookieSessionStore
from session2.store.volatile import VolatileSessionStore

Page = Callable[[Any], None]


class Browser:
    """Keeps the cookies that it is sent."""

    def __init__(self) -> None:
        self.cookies: dict[str, str] = {}

    def header(self) -> str:
        """Return the Cookie header of the next request."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def take(self, set_cookie: str) -> None:
        """Note what a Set-Cookie header says."""
        name, _, value = set_cookie.partition(";")[0].strip().partition("=")
        self.cookies[name] = value


class Request(Exchange):
    """A request without a framework."""

    remote_address = "192.0.2.1"
    is_secure = False
    script_name = ""

    def __init__(self, header: str) -> None:
        self.header = header
        self.headers: list[tuple[str, str]] = []

    def get_cookie(self, name: str) -> str | None:
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        return values_of(self.header, name)


def by_browser(request: Callable[[Browser, Page], None]) -> Callable[[int], Actions]:
    """Return the worker of a case: a first request begins its session, and each action is one more."""
    def worker(number: int) -> Actions:
        browser = Browser()
        request(browser, lambda session: session.update(STATE))
        return Actions(lambda: request(browser, use), lambda: request(browser, look))

    return worker


def by_hand() -> Callable[[Browser, Page], None]:
    """JSON and AES-GCM; a page that only looks is sent nothing."""
    cipher = AESGCM(os.urandom(32))

    def request(browser: Browser, page: Page) -> None:
        state: dict[str, Any] = {}
        for value in values_of(browser.header(), "s"):
            sealed = base64.urlsafe_b64decode(value)
            state = json.loads(cipher.decrypt(sealed[:12], sealed[12:], b"s"))
        page(state)
        if page is not look:
            nonce = os.urandom(12)
            sealed = nonce + cipher.encrypt(nonce, json.dumps(state).encode(), b"s")
            browser.take(f"s={base64.urlsafe_b64encode(sealed).decode()}; Path=/; HttpOnly")

    return request


def ours(store: CookieSessionStore) -> Callable[[Browser, Page], None]:
    """Whole requests of our manager."""
    manager: SessionManager[DictSession] = SessionManager(store, DictSession)

    def request(browser: Browser, page: Page) -> None:
        exchange = Request(browser.header())
        manager.start_request(exchange)
        page(exchange.session)
        manager.finish_successful_request(exchange)
        for name, value in exchange.headers:
            if name == "Set-Cookie":
                browser.take(value)

    return request


def beakers(serializer: str) -> Callable[[Browser, Page], None]:
    """Beaker's session in an encrypted cookie, as its middleware has it: saved at each request."""
    secrets = {"encrypt_key": get_secret(), "validate_key": get_secret()}

    def request(browser: Browser, page: Page) -> None:
        environment: dict[str, Any] = {"cookie": browser.header()}
        session = CookieSession(environment, data_serializer=serializer, crypto_type="cryptography", timeout=3600,
                                httponly=True, **secrets)
        page(session)
        session.save()
        browser.take(environment["cookie_out"])

    return request


def djangos(folder: Path) -> Callable[[Browser, Page], None]:
    """Django's session in a cookie, which is signed and can be read by anybody."""
    import peers

    peers.djangos("signed_cookies", folder)  # for Django's settings
    from django.contrib.sessions.backends.signed_cookies import SessionStore

    def request(browser: Browser, page: Page) -> None:
        session = SessionStore(next(iter(values_of(browser.header(), "sessionid")), None))
        page(session)
        if session.modified:
            session.save()
            browser.take(f"sessionid={session.session_key}; Path=/; HttpOnly")

    return request


def cookies(folder: Path) -> list[Case]:
    """No store at all, but for one case in which it is kept in memory what has ended."""
    requests = {"AES-GCM by hand": by_hand(),
                "session2 cookie, request": ours(CookieSessionStore(get_secret())),
                "the same with ended_in": ours(CookieSessionStore(get_secret(), VolatileSessionStore())),
                "Beaker, encrypted, JSON": beakers("json"), "Beaker, encrypted, pickle": beakers("pickle"),
                "Django, signed": djangos(folder)}
    return [Case(name, by_browser(request)) for name, request in requests.items()]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the group by its name."""
    return {"cookie": cookies}
