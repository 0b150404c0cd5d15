"""A request leaves nothing for the garbage collector: what it had is free, and used again, as soon as it is over.

A circle of references keeps all that hangs on it, in a server the whole request of the framework with its headers and
bodies, until the collector looks for it; and the next requests work in memory that no cache has.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import counting
import counting_adapters
import pytest

from session2 import DictSession, SessionManager
from session2.store.cookie import CookieSessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange
from session2_asgi import SessionMiddleware

ADAPTERS = [name for name in counting_adapters.ADAPTERS if name != "Django"]
"""Django's own AuthenticationMiddleware makes a circle of each request, and all that belongs to it stays in that."""


def left_behind(act: Callable[[], object]) -> list[str]:
    """Return the types of what is left of the library's objects, once what is made once is made.

    What is there before is frozen for good: looking for garbage takes long where so much was imported.
    """
    act()
    gc.freeze()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        act()
        act()  # takes the place of what is kept until the next one comes
        gc.collect()
        return [type(thing).__qualname__ for thing in gc.garbage if type(thing).__module__.startswith("session2")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def prepared(site: counting.Site, kind: str) -> None:
    site.prepare(kind)
    getattr(site, kind)()


@pytest.mark.parametrize("mode", counting.MODES)
@pytest.mark.parametrize("store", counting.URLS)
def test_requests_of_a_manager_leave_no_garbage(store: str, mode: str, tmp_path: Path) -> None:
    site = counting.Site(counting.URLS[store].format(tmp_path), mode)
    for kind in counting.KINDS:
        assert left_behind(partial(prepared, site, kind)) == [], kind


@pytest.mark.parametrize("mode", counting.MODES)
def test_requests_that_fail_leave_no_garbage(mode: str) -> None:
    site = counting.Site("volatile:", mode)
    site.begin()

    def fail(log_out: bool) -> None:
        exchange = FakeExchange(dict(site.cookies))
        site.manager.start_request(exchange)
        exchange.session["count"] += 1
        if log_out:
            site.manager.expire_session(exchange)
        site.manager.finish_failed_request(exchange)

    assert left_behind(lambda: (fail(False), fail(True))) == []


def test_requests_whose_sessions_travel_with_them_leave_no_garbage() -> None:
    manager, cookies = SessionManager(CookieSessionStore("s" * 40), DictSession), dict[str, str]()

    def visit() -> None:
        exchange = FakeExchange(cookies)
        manager.start_request(exchange)
        exchange.session["count"] = exchange.session.get("count", 0) + 1
        manager.finish_successful_request(exchange)

    assert left_behind(visit) == []
    assert "session2-data" in cookies


def test_requests_on_asgi_leave_no_garbage() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        scope["session"]["count"] = 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def answered(message: Any) -> None:
        answers.append(message)

    answers: list[Any] = []
    application: Any = SessionMiddleware(page, SessionManager(VolatileSessionStore(), DictSession))
    scope = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "headers": []}
    with asyncio.Runner() if hasattr(asyncio, "Runner") else contextlib.nullcontext(asyncio) as runner:
        assert left_behind(lambda: runner.run(application(dict(scope), None, answered))) == []
    assert any(name == b"set-cookie" for name, _ in answers[0]["headers"])


@pytest.mark.parametrize("mode", counting.MODES)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_requests_through_an_adapter_leave_no_garbage(adapter: str, mode: str) -> None:
    visitor = counting_adapters.ADAPTERS[adapter](mode)
    visitor.visit("begin")
    for kind in ("look", "change"):
        assert left_behind(partial(visitor.visit, kind)) == [], kind


def test_a_session_outlives_its_request() -> None:
    site = counting.Site("volatile:", "merge")
    exchange = FakeExchange()
    site.manager.start_request(exchange)
    session = exchange.session
    assert session.exchange is exchange
    session["kept"] = 1
    site.manager.finish_successful_request(exchange)
    del exchange
    assert session.exchange is None
    session["later"] = 2
    site.manager.save(session)
    found = site.manager.load(session.id)
    assert found is not None
    assert dict(found) == {"kept": 1, "later": 2}
