"""The ASGI adapter at close quarters: where stores are asked, and what becomes of streams, tasks and websockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import fastapi
import pytest
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    Session,
    SessionError,
    SessionManager,
    StoreUnavailable,
    migrate,
)
from session2.errors import SerializationError
from session2.migrate import FormerCookie, Source
from session2.record import Record
from session2.store.lease import Lease
from session2.store.volatile import VolatileSessionStore
from session2.testing.adapter.browser import SetCookie
from session2.testing.store.visitor import is_locked
from session2.visit import Visit
from session2_asgi import ASGIExchange, SessionMiddleware

Page = Callable[[fastapi.Request], Awaitable[Any]]


class WatchedStore(VolatileSessionStore):
    """Refuses to be asked on an event loop; may be stopped in the middle of reading or writing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.gates: dict[str, tuple[threading.Event, threading.Event]] = {}

    def _watch(self, what: str) -> None:
        self.asked += 1
        assert asyncio._get_running_loop() is None, f"{what} was called on the event loop"
        if what in self.gates:
            arrived, gate = self.gates[what]
            arrived.set()
            assert gate.wait(60)

    def read(self, key: str) -> Record | None:
        self._watch("read")
        return super().read(key)

    def write(self, key: str, record: Record, expected: object) -> object:
        self._watch("write")
        return super().write(key, record, expected)

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        self._watch("touch")
        return super().touch(key, accessed, expires)

    def remove(self, key: str, expected: object = None) -> None:
        self._watch("remove")
        super().remove(key, expected)

    def lock(self, key: str, **options: Any) -> Lease:
        self._watch("lock")
        lease = super().lock(key, **options)
        release = lease.release

        def watched() -> None:
            self._watch("release")
            release()
        lease.release = watched  # type: ignore[method-assign]
        return lease

    @contextlib.contextmanager
    def stopped(self, what: str) -> Iterator[threading.Event]:
        """Let no call of this kind go on; yields what is set when one has arrived."""
        arrived, gate = self.gates[what] = threading.Event(), threading.Event()
        try:
            yield arrived
        finally:
            del self.gates[what]
            gate.set()


class Answer:
    """What was sent."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)
        if message["type"] == "http.response.start":
            assert not self.status, "the headers are sent twice"
            self.status = message["status"]
            self.headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    @property
    def cookie(self) -> SetCookie | None:
        sent = [SetCookie.parse(value) for name, value in self.headers if name == "set-cookie"]
        assert len(sent) <= 1
        return sent[0] if sent else None

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found == name]


class Site:
    """A FastAPI application whose page is whatever function it is asked to run, and a browser in front of it."""

    def __init__(self, **options: Any) -> None:
        self.store = WatchedStore()
        self.manager: SessionManager[Any] = SessionManager(self.store, **{"session_class": DictSession, **options})
        self.fastapi = fastapi.FastAPI()
        self.fastapi.add_middleware(SessionMiddleware, manager=self.manager)
        self.fastapi.add_api_route("/", self._answer)
        self.app: Any = self.fastapi
        self.cookies: list[str] = []
        self.page: Page

    async def _answer(self, request: fastapi.Request) -> Any:
        found = await self.page(request)
        return found if isinstance(found, Response) else PlainTextResponse(str(found))

    def scope(self, kind: str = "http", **more: Any) -> dict[str, Any]:
        headers = [(b"host", b"localhost"), *((b"cookie", cookie.encode()) for cookie in self.cookies)]
        return {"type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
                "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": headers,
                "client": ("192.0.2.1", 1), "server": ("localhost", 80), "subprotocols": [], **more}

    async def ask(self, page: Page, answer: Answer | None = None, **more: Any) -> Answer:
        """Send a request, keep the cookie it is answered with."""
        self.page, answer = page, answer or Answer()
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not gone.is_set():
                gone.set()
                return {"type": "http.request", "body": b"", "more_body": False}
            await asyncio.Event().wait()
            raise AssertionError
        await self.app(self.scope(**more), receive, answer.send)
        if answer.cookie:
            self.cookies = [] if answer.cookie.is_deletion else [f"{answer.cookie.name}={answer.cookie.id}"]
        return answer

    def run(self, page: Page, status: int = 200, **more: Any) -> Answer:
        answer = asyncio.run(self.ask(page, **more))
        assert answer.status == status, answer.body
        return answer

    def items(self) -> dict[str, Any]:
        found: dict[str, Any] = {}

        async def page(request: fastapi.Request) -> str:
            found.update(request.session)
            return "items"
        self.run(page)
        return found

    @property
    def id(self) -> str:
        return self.cookies[0].partition("=")[2]

    def is_locked(self) -> bool:
        return is_locked(self.store, hashlib.sha256(self.id.encode()).hexdigest())


def put(**items: Any) -> Page:
    async def page(request: fastapi.Request) -> str:
        request.session.update(items)
        return "put"
    return page


async def look(request: fastapi.Request) -> str:
    return str(request.session.get("a"))


async def log_in(request: fastapi.Request) -> str:
    session: Any = request.session
    session.user = "ada"
    return "logged in"


async def log_out(request: fastapi.Request) -> str:
    request.session.clear()
    return "logged out"


def crash(error: BaseException) -> Page:
    async def page(request: fastapi.Request) -> str:
        request.session["a"] = 2
        raise error
    return page


@pytest.fixture
def site() -> Site:
    return Site()


# -- where stores are asked ----------------------------------------------------------------------------------------


def test_the_exchange_tells_what_the_scope_says() -> None:
    """One behind a Unix socket names no client."""
    cookies = {"headers": [(b"Cookie", b"c=1"), (b"cookie", b"c=2")]}
    exchange = ASGIExchange({**Site().scope(), **cookies, "root_path": "/k\u00e4se", "scheme": "wss"})
    assert (exchange.remote_address, exchange.is_secure, exchange.get_cookies("c")) == ("192.0.2.1", True, ["1", "2"])
    assert exchange.script_name == "/k\u00e4se".encode().decode("latin-1")
    for client in ({"client": None}, {}):
        scope = Site().scope()
        del scope["client"]
        assert ASGIExchange({**scope, **client}).remote_address is None


def test_the_page_that_tells_of_a_crash_is_sent() -> None:
    async def sorry(request: fastapi.Request, error: Exception) -> Response:
        return PlainTextResponse("sorry", 500)

    async def crash(request: fastapi.Request) -> Any:
        request.session["a"] = 1
        raise ZeroDivisionError

    site, answer = Site(), Answer()
    shop = fastapi.FastAPI(exception_handlers={Exception: sorry})
    shop.add_api_route("/", crash)
    site.app = SessionMiddleware(shop, site.manager)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(site.ask(crash, answer))
    assert (answer.status, answer.body, answer.cookie) == (500, b"sorry", None)


@pytest.mark.parametrize("concurrency", ["merge", "lock"])
def test_no_store_is_asked_on_the_event_loop(concurrency: str) -> None:
    site = Site(concurrency=concurrency, touch_interval=0)
    for page in (put(a=1), look, log_in, put(a=2), look):
        site.run(page)
    with pytest.raises(RuntimeError):
        site.run(crash(RuntimeError()))
    assert site.items() == {"a": 2}
    site.run(log_out)
    assert site.store.asked > 10


class Former(Source):
    """Another system, with a session under each id; it refuses to be asked on an event loop."""

    def scan(self) -> Iterator[migrate.Former]:
        return iter(())

    def find(self, id: str) -> migrate.Former:
        assert asyncio._get_running_loop() is None, "the other system was asked on the event loop"
        return migrate.Former(id, {"data": {"a": 1}})


def test_two_first_requests_with_a_cookie_of_the_system_before_wait_for_their_lock_in_threads() -> None:
    site = Site(concurrency="lock", former=[FormerCookie("old", lambda value: value, Former(), keep=True)])

    async def add(request: fastapi.Request) -> str:
        request.session["a"] += 1
        await asyncio.sleep(0)
        return str(request.session["a"])

    async def main() -> list[bytes]:
        site.cookies = ["old=" + "4f" * 16]
        return [answer.body for answer in await asyncio.gather(site.ask(add), site.ask(add))]

    assert sorted(asyncio.run(main())) == [b"2", b"3"]


def test_endpoints_that_are_no_coroutines_have_the_same_session(site: Site) -> None:
    @site.fastapi.get("/sync")
    def sync(request: fastapi.Request) -> int:
        request.session["n"] = request.session.get("n", 0) + 1
        return int(request.session["n"])

    assert [site.run(look, path="/sync").body for _ in range(3)] == [b"1", b"2", b"3"]


def test_who_sends_no_cookie_costs_the_store_nothing(site: Site) -> None:
    assert site.run(look).all("vary") == ["Cookie"]
    assert site.store.asked == 0


def test_page_that_does_not_look_writes_nothing_and_does_not_vary() -> None:
    site = Site(touch_interval=0)

    async def page(request: fastapi.Request) -> str:
        return "page"
    site.run(put(a=1))
    asked = site.store.asked
    assert site.run(page).all("vary") == []
    assert site.store.asked == asked + 1, "it is loaded, since nobody can know"


def test_middleware_within_itself_is_one(site: Site) -> None:
    site.app = SessionMiddleware(site.fastapi, site.manager)
    site.run(put(a=1))
    asked = site.store.asked
    site.run(look)
    assert site.store.asked == asked + 1


def test_cookies_may_come_in_several_headers(site: Site) -> None:
    site.run(put(a=1))
    site.cookies = ["other=1", *site.cookies, "session2=bogus"]
    assert site.run(look).body == b"1"


def test_vary_and_cache_control_of_the_page_are_kept(site: Site) -> None:
    async def page(request: fastapi.Request) -> Response:
        request.session["a"] = 1
        return PlainTextResponse("page", headers={"Vary": "Accept", "Cache-Control": "private"})
    answer = site.run(page)
    assert answer.all("vary") == ["Accept, Cookie"]
    assert answer.all("cache-control") == ["private, no-store"]


def test_cookie_is_that_of_where_the_application_is_mounted(site: Site) -> None:
    cookie = site.run(put(a=1), root_path="/shop", path="/shop/", scheme="https").cookie
    assert cookie is not None
    assert (cookie.attributes["path"], "secure" in cookie.attributes) == ("/shop", True)


def test_clear_logs_out_and_regenerate_gives_a_new_id(site: Site) -> None:
    async def regenerate(request: fastapi.Request) -> str:
        session: Any = request.session
        session.regenerate()
        return "regenerated"
    site.run(put(a=1))
    before = site.id
    site.run(regenerate)
    assert site.id != before
    assert site.manager.load(before) is None
    after = site.id
    cookie = site.run(log_out).cookie
    assert cookie is not None
    assert cookie.is_deletion
    assert site.manager.load(after) is None


def test_tasks_of_one_request_may_save_at_the_same_time(site: Site) -> None:
    async def page(request: fastapi.Request) -> str:
        session: Any = request.session
        session.user = "ada"
        with site.store.stopped("write") as arrived:
            first = asyncio.create_task(session.save())
            await until(arrived)
            second = asyncio.create_task(session.save())
            await asyncio.sleep(0)
        await asyncio.gather(first, second)
        return "saved"

    answer = site.run(page)
    assert [session.user for session in site.manager.values()] == ["ada"]
    assert answer.cookie is not None
    assert site.manager.load(answer.cookie.id) is not None


def test_task_that_outlives_its_request_is_told_that_it_stores_nothing(site: Site) -> None:
    held: list[Any] = []

    async def page(request: fastapi.Request) -> str:
        request.session["a"] = 1
        held.append(request.session)
        return "page"

    site.run(page)
    held[0]["a"] = 2
    with pytest.raises(ConfigurationError, match="the request is over"):
        asyncio.run(held[0].save())
    assert site.items() == {"a": 1}


def test_session_class_that_is_no_mapping_is_refused() -> None:
    class Own(Session):
        pass

    with pytest.raises(ConfigurationError, match="derive Own from DictSession"):
        SessionMiddleware(fastapi.FastAPI(), SessionManager(VolatileSessionStore(), Own))


# -- streams and tasks in the background ---------------------------------------------------------------------------


def test_stream_may_change_the_session(site: Site) -> None:
    async def page(request: fastapi.Request) -> Response:
        async def body() -> AsyncIterator[str]:
            yield str(request.session["a"])
            request.session["a"] = 2
            yield "."
        return StreamingResponse(body())
    site.run(put(a=1))
    assert site.run(page).body == b"1."
    assert site.items() == {"a": 2}


@pytest.mark.parametrize("saves", [False, True])
def test_login_in_a_stream_is_refused_and_logged(site: Site, saves: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def page(request: fastapi.Request) -> Response:
        async def body() -> AsyncIterator[str]:
            yield await log_in(request)
            if saves:
                await request.session.save()  # type: ignore[attr-defined]
        return StreamingResponse(body())
    site.run(put(a=1))
    with caplog.at_level(logging.ERROR, "session2"):
        assert site.run(page).cookie is None
    assert "the headers were out" in caplog.text
    assert list(site.manager.sessions_of("ada")) == []


def test_stream_holds_its_lock_to_the_end() -> None:
    site = Site(concurrency="lock")
    seen: list[bool] = []

    async def page(request: fastapi.Request) -> Response:
        async def body() -> AsyncIterator[str]:
            yield "begun"
            seen.append(await asyncio.to_thread(site.is_locked))
            yield "."
        return StreamingResponse(body())
    site.run(put(a=1))
    site.run(page)
    assert seen == [True]
    assert not site.is_locked()


def test_task_in_the_background_changes_the_session_and_holds_no_lock() -> None:
    site = Site(concurrency="lock")
    seen: list[bool] = []

    async def page(request: fastapi.Request) -> Response:
        async def task() -> None:
            seen.append(await asyncio.to_thread(site.is_locked))
            request.session["a"] = 2
        seen.append(await asyncio.to_thread(site.is_locked))
        return PlainTextResponse("page", background=BackgroundTask(task))
    site.run(put(a=1))
    site.run(page)
    assert seen == [True, False]
    assert site.items() == {"a": 2}


def test_task_in_the_background_merges_with_what_others_stored(site: Site) -> None:
    async def page(request: fastapi.Request) -> Response:
        async def task() -> None:
            await site.ask(put(b=2))
            request.session["a"] = 2
        return PlainTextResponse("page", background=BackgroundTask(task))
    site.run(put(a=1))
    site.run(page)
    assert site.items() == {"a": 2, "b": 2}


# -- what fails ----------------------------------------------------------------------------------------------------


def test_http_exception_is_no_crash(site: Site) -> None:
    site.run(crash(HTTPException(404)), 404)
    assert site.items() == {"a": 2}


@pytest.mark.parametrize("around", [False, True], ids=["inside", "around"])
def test_crash_frees_the_lock_and_stores_nothing(around: bool) -> None:
    site = Site(concurrency="lock")
    site.run(put(a=1))
    if around:
        plain = fastapi.FastAPI()
        plain.add_api_route("/", site._answer)
        site.app = SessionMiddleware(plain, site.manager)
    with pytest.raises(RuntimeError):
        site.run(crash(RuntimeError()))
    assert site.items() == {"a": 1}


def test_crash_stores_nothing_while_its_lock_is_still_to_be_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    site, answer, sent, close = Site(concurrency="lock"), Answer(), threading.Event(), Visit.close
    site.run(put(a=1))
    plain = fastapi.FastAPI()
    plain.add_api_route("/", site._answer)

    async def around(scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body":
                sent.set()
        await SessionMiddleware(plain, site.manager)(scope, receive, tell)

    def close_late(visit: Visit) -> None:
        sent.wait(60)
        close(visit)

    site.app = around
    with monkeypatch.context() as slow:
        slow.setattr(Visit, "close", close_late)
        with pytest.raises(RuntimeError):
            site.run(crash(RuntimeError()), answer=answer)
    assert answer.status == 500
    assert site.items() == {"a": 1}


def fail(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("out of order")


@pytest.mark.parametrize("around", [False, True], ids=["inside", "around"])
@pytest.mark.parametrize("when", ["read", "write"])
def test_store_that_is_down_is_a_503(site: Site, when: str, around: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site.run(put(a=1))
    if around:
        plain = fastapi.FastAPI()
        plain.add_api_route("/", site._answer)
        site.app = SessionMiddleware(plain, site.manager)
    with monkeypatch.context() as broken:
        broken.setattr(site.store, when, fail)
        answer = site.run(put(a=2), 503)
    assert answer.body == b"Sessions are not available at the moment."
    assert answer.cookie is None
    assert site.items() == {"a": 1}


def test_store_that_is_down_disturbs_nobody_who_does_not_look(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def page(request: fastapi.Request) -> str:
        return "page"
    site.run(put(a=1))
    monkeypatch.setattr(site.store, "read", fail)
    site.run(page)


def test_application_may_have_a_page_of_its_own_for_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    @site.fastapi.exception_handler(StoreUnavailable)
    async def handle(request: fastapi.Request, error: StoreUnavailable) -> Response:
        return PlainTextResponse("Back soon.", 503)

    site.run(put(a=1))
    monkeypatch.setattr(site.store, "read", fail)
    answer = site.run(look, 503)
    assert answer.body == b"Back soon."
    assert answer.all("vary") == ["Cookie"]


def test_store_that_is_down_at_the_end_is_a_503_also_with_a_page_of_its_own(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    @site.fastapi.exception_handler(SessionError)
    async def handle(request: fastapi.Request, error: SessionError) -> Response:
        return PlainTextResponse("Back soon.", error.status)

    site.run(put(a=1))
    monkeypatch.setattr(site.store, "write", fail)
    site.run(put(a=2), 503)


def test_an_error_behind_the_headers_is_the_servers(site: Site) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise StoreUnavailable("away in mid-stream")

    answer = Answer()
    site.app = SessionMiddleware(app, site.manager)
    with pytest.raises(StoreUnavailable):
        asyncio.run(site.ask(put(), answer))
    assert [message["type"] for message in answer.messages] == ["http.response.start"]


def test_value_that_cannot_be_stored_is_a_crash(site: Site) -> None:
    site.run(put(a=1))
    with pytest.raises(SerializationError, match="'b'"):
        site.run(put(a=2, b=lambda: 1))
    assert site.items() == {"a": 1}


def test_clear_site_data_is_told_also_where_nothing_was_stored(site: Site) -> None:
    async def page(request: fastapi.Request) -> str:
        session: Any = request.session
        session.delete(clear_site_data=True)
        return "logged out"
    assert site.run(page).all("clear-site-data") == ['"cache", "cookies", "storage"']


def test_lock_that_is_not_free_says_when_to_try_again() -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.run(put(a=1))
    with site.manager.lock(site.id):
        assert site.run(look, 503).all("retry-after") == ["1"]
    assert site.run(look).body == b"1"


@pytest.mark.parametrize(("sessions", "requests"), [(1, 40), (40, 1)])
def test_nobody_waits_behind_those_who_wait_for_the_lock_of_another_session(sessions: int, requests: int) -> None:
    site = Site(concurrency="lock")

    async def begin(request: fastapi.Request) -> str:
        request.session["a"] = 0
        return "begun"

    async def count(request: fastapi.Request) -> str:
        request.session["a"] += 1
        return "counted"

    def cookies_of_new_session() -> list[str]:
        site.cookies = []
        site.run(begin)
        return site.cookies

    locked, free = [cookies_of_new_session() for _ in range(sessions)], cookies_of_new_session()

    async def main() -> list[int]:
        tasks, leases = [], []
        for cookies in locked:
            site.cookies = cookies
            leases.append(await asyncio.to_thread(site.manager.lock, site.id))
            for _ in range(requests):
                tasks.append(asyncio.create_task(site.ask(count)))
                await asyncio.sleep(0)  # it begins, with these cookies
        site.cookies = free
        assert (await asyncio.wait_for(site.ask(count), 20)).status == 200, "not even as long as a lock is waited for"
        assert not any(task.done() for task in tasks)
        for lease in leases:
            await asyncio.to_thread(lease.release)
        return [(await task).status for task in tasks]

    assert asyncio.run(main()) == [200] * sessions * requests
    for cookies in locked:
        site.cookies = cookies
        assert site.items() == {"a": requests}


# -- tasks that are cancelled --------------------------------------------------------------------------------------


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 60)


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_task_that_is_cancelled_while_its_session_is_stored_stores_it_and_frees_the_lock() -> None:
    site = Site(concurrency="lock")
    site.run(put(a=1))

    async def main() -> None:
        with site.store.stopped("write") as arrived:
            task = asyncio.create_task(site.ask(put(a=2, b=2)))
            await until(arrived)
            await cancel(task)
            assert await asyncio.to_thread(site.is_locked), "it is still being stored"
    asyncio.run(main())
    assert site.items() == {"a": 2, "b": 2}, "it waits for the lock"


def test_task_that_is_cancelled_while_it_waits_for_a_lock_leaves_none() -> None:
    site = Site(concurrency="lock")
    site.run(put(a=1))

    async def main() -> None:
        with site.store.stopped("read") as arrived:
            task = asyncio.create_task(site.ask(look))
            await until(arrived)
            await cancel(task)
    asyncio.run(main())
    assert site.items() == {"a": 1}


def test_task_that_is_cancelled_in_its_page_frees_the_lock_and_stores_nothing() -> None:
    site = Site(concurrency="lock")
    site.run(put(a=1))

    async def main() -> None:
        arrived = asyncio.Event()

        async def page(request: fastapi.Request) -> str:
            request.session["a"] = 2
            arrived.set()
            await asyncio.Event().wait()
            return "never"
        task = asyncio.create_task(site.ask(page))
        await arrived.wait()
        await cancel(task)
    asyncio.run(main())
    assert site.items() == {"a": 1}


def test_visitor_who_goes_away_during_a_stream_leaves_no_lock() -> None:
    site = Site(concurrency="lock")
    site.run(put(a=1))

    class Gone(Answer):
        async def send(self, message: Any) -> None:
            if message["type"] == "http.response.body":
                raise OSError("the visitor is gone")
            await super().send(message)

    async def page(request: fastapi.Request) -> Response:
        async def body() -> AsyncIterator[str]:
            yield str(request.session["a"])
        return StreamingResponse(body())

    async def main() -> None:
        with contextlib.suppress(Exception):
            await site.ask(page, Gone())
    asyncio.run(main())
    assert site.items() == {"a": 1}


# -- websockets ----------------------------------------------------------------------------------------------------


def converse(site: Site, talk: Callable[[fastapi.WebSocket], Awaitable[None]]) -> list[Any]:
    """Open a websocket, have a page talk, and return what was sent."""
    answer = Answer()

    @site.fastapi.websocket("/socket")
    async def page(socket: fastapi.WebSocket) -> None:
        await socket.accept()
        await talk(socket)
        await socket.close()

    async def main() -> None:
        received = iter([{"type": "websocket.connect"}])

        async def receive() -> Any:
            return next(received)
        scope = site.scope("websocket", path="/socket", scheme="ws")
        await site.app(scope, receive, answer.send)
    asyncio.run(main())
    return [message.get("text") for message in answer.messages if message["type"] == "websocket.send"]


def test_websocket_reads_the_session_and_holds_no_lock() -> None:
    site = Site(concurrency="lock")
    site.run(put(a=1))

    async def talk(socket: fastapi.WebSocket) -> None:
        await socket.send_text(f"{socket.session['a']} {await asyncio.to_thread(site.is_locked)}")
    assert converse(site, talk) == ["1 False"]


def test_websocket_stores_what_it_is_told_to(site: Site) -> None:
    async def talk(socket: fastapi.WebSocket) -> None:
        session: Any = socket.session
        session["a"] = 2
        await session.save()
        await site.ask(put(b=2))
        session["a"] = 3
        await session.save()
        session["a"] = 4
    site.run(put(a=1))
    converse(site, talk)
    assert site.items() == {"a": 3, "b": 2}


def test_websocket_begins_no_session_whose_cookie_nobody_gets(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def talk(socket: fastapi.WebSocket) -> None:
        session: Any = socket.session
        assert session.headers_sent
        session["a"] = 1
        await session.save()
    with caplog.at_level(logging.ERROR, "session2"):
        converse(site, talk)
    assert "the headers were out" in caplog.text
    assert list(site.manager.values()) == []


def test_a_browser_that_missed_its_new_id_is_told_it_with_the_next_answer() -> None:
    """When the grace is over, its old one leads nowhere."""
    site = Site()
    site.run(put(a=1))
    old = site.id
    site.manager.rotate(site.manager.load(old), grace=60)
    assert site.run(look).body == b"1"
    assert site.id != old
    assert site.run(look).cookie is None
    assert site.manager.load(site.id)["a"] == 1


# -- beside another framework --------------------------------------------------------------------------------------


def test_one_login_with_cherrypy(serve: Callable[..., Any]) -> None:
    import cherrypy

    site = Site(cookie=CookiePolicy("both"))
    pages = {"user": lambda: str(cherrypy.session.user), "login": lambda: str(cherrypy.session.set_user("bob")),
             "out": lambda: str(cherrypy.session.delete())}
    theirs = serve(pages, manager=site.manager)

    async def user(request: fastapi.Request) -> str:
        session: Any = request.session
        return str(session.user)
    site.run(log_in)
    assert theirs.get("/user", site.cookies[0]).text == "ada"
    site.cookies = [theirs.cookie("/login", site.cookies[0])]
    assert site.run(user).body == b"bob"
    theirs.get("/out", site.cookies[0])
    assert site.run(user).body == b"None"
