"""session2 for Starlette, FastAPI and whatever else speaks ASGI: `SessionMiddleware`.

Stores are synchronous, so they are asked in threads, never on the event loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

from session2 import ConfigurationError, DictSession, LockTimeout, SessionError, SessionManager, StoreUnavailable
from session2.environ import EnvironExchange
from session2.exchange import policy_of
from session2.forks import PerProcess
from session2.lazy import LazySession
from session2.variants import for_mappings

__all__ = ["ASGISession", "SessionMiddleware"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

log = logging.getLogger("session2")

_THREADS: Final = 32

# Who opens a session does not wait for its lock, but leaves the thread to others; who finds it locked waits elsewhere.
_opening: Final = PerProcess(partial(ThreadPoolExecutor, _THREADS, "session2-open"))
_waiting: Final = PerProcess(partial(ThreadPoolExecutor, _THREADS, "session2-wait"))
_storing: Final = PerProcess(partial(ThreadPoolExecutor, _THREADS, "session2-store"))

_turns: Final[WeakValueDictionary[tuple[object, ...], asyncio.Lock]] = WeakValueDictionary()
"""By event loop and cookies: of the requests of one session one waits in a thread, and the others for that one."""


class ASGIExchange(EnvironExchange):
    """One request or websocket: what its scope says, in the words of WSGI."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        cookies = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"cookie"]
        super().__init__({
            "HTTP_COOKIE": "; ".join(cookies),  # HTTP/2 allows for several headers
            "REMOTE_ADDR": (scope.get("client") or [None])[0],
            "SCRIPT_NAME": scope.get("root_path", "").encode().decode("latin-1"),
            "wsgi.url_scheme": "https" if scope.get("scheme") in ("https", "wss") else "http"})

    def add_to(self, message: Message) -> None:
        """Add the headers of the session to those of the application."""
        found = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
        message["headers"] = [(name.lower().encode("latin-1"), value.encode("latin-1"))
                              for name, value in self.added_to(found)]


class ASGISession(LazySession):
    """What ``scope["session"]`` and ``scope["session2.session"]`` are: the items of the session, loaded beforehand."""

    _exchange: ASGIExchange

    def __init__(self, manager: SessionManager[DictSession], scope: MutableMapping[str, Any]) -> None:
        super().__init__(ASGIExchange(scope))
        self.manager = manager
        self._is_socket = self._exchange.headers_sent = scope["type"] == "websocket"
        self.is_over = False
        self._work: Future[None] | None = None
        self._turn = asyncio.Lock()
        self._was_looked_at = False
        """Also in vain: the answer depends on the session then, too."""
        self.refusal: Exception | None = None
        """Why the response could not begin; frameworks take that for a crash of their own."""

    def _open(self) -> None:
        self._was_looked_at = True
        super()._open()

    def _begin(self) -> None:
        if self._exchange.visit is None:  # no cookie, and so nothing to ask a store for
            self.manager.start_request(self._exchange)

    async def save(self) -> None:
        """Store what was changed so far; needed by websockets only, whose session is never stored by itself."""
        if self.is_over:
            raise ConfigurationError("the request is over, and nothing can be stored for it: in a task of its own use "
                                     "manager.load(id) and manager.save(session)")
        self.session  # noqa: B018 (it is opened)
        await self._run(_storing(), partial(self.manager.settle_request, self._exchange))

    clear = LazySession.delete

    @property
    def headers_sent(self) -> bool:
        """Whether the answer has begun, and no cookie can be sent any more; always of a websocket."""
        return self._exchange.headers_sent

    # -- for the middleware ----------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Load the session, if the request names one; an error is raised when somebody looks at it."""
        names = [policy_of(self.manager.cookie, self._exchange).name, *(each.name for each in self.manager.former)]
        cookies = [value for name in names for value in self._exchange.get_cookies(name)]
        if cookies or self.manager.sessions.left:
            try:
                await self._load_in_turn(cookies)
            except Exception as error:
                self._failure = error

    async def _load_in_turn(self, cookies: list[str]) -> None:
        """Load the session at once, or when it is unlocked; in turn, so who is waited for gives up before others do."""
        end, line = time.monotonic() + self.manager.lock_timeout, (asyncio.get_running_loop(), *cookies)
        if line not in _turns:
            try:
                await self._run(_opening(), partial(self._load, 0.0))
            except LockTimeout:
                pass
            else:
                return
        async with _turns.setdefault(line, asyncio.Lock()):
            await self._run(_waiting(), partial(self._load, end))

    def _load(self, end: float) -> None:
        """Load the session; wait for its lock until a moment of the monotonic clock."""
        manager = self.manager
        if manager.concurrency != "merge":  # there may be a lock to wait for
            manager = copy.copy(manager)
            manager.lock_timeout = max(0.0, end - time.monotonic())
        manager.start_request(self._exchange)
        self._exchange.visit.manager = self.manager
        if self._is_socket:  # which may stay for days
            self.manager.unlock_request(self._exchange)

    async def send_on(self, send: Send, message: Message) -> None:
        """Send what the application sends, when that has been done which is due before it."""
        if message["type"] == "http.response.start":
            try:
                await self.before_headers(message)
            except SessionError as error:
                self.refusal = error
                raise
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            await self.after_body()
        await send(message)

    async def before_headers(self, message: Message) -> None:
        """Store the session, unless the application crashed, and tell the browser."""
        error = sys.exc_info()[1]
        if message["status"] == 500 and error is not None and _refuses(error):
            raise error  # the application tells of a crash; there is more to be told
        if message["status"] >= 500:
            self.give_up()
        elif self.loaded and self._has_work():
            await self.save()  # there is something to do, and a thread is worth its price
        if self._was_looked_at:
            self._exchange.add_to(message)
        self._exchange.headers_sent = True

    async def after_body(self) -> None:
        """Store what a stream changed, and free the lock: a task in the background may take its time."""
        if self._exchange.visit is not None and self._exchange.visit.lease is not None:
            await self._run(_storing(), self._store_late)

    async def end(self) -> None:
        """Store what was changed behind the headers, and let go of the session."""
        if self.loaded and not self._is_socket and self._exchange.visit.has_news():
            await self._run(_storing(), self._store_late)
        self.give_up()

    def give_up(self) -> None:
        """Forget what is not stored by now, and free the lock, without waiting for it: the task may be cancelled."""
        visit = self._exchange.visit
        if visit is None:
            return
        visit.finished = True  # at once: what is sent from here on, the body of the answer to a crash, stores nothing
        if self._work is None or self._work.done():  # else it is let go of when that is done
            visit.close() if visit.lease is None else _storing().submit(visit.close)

    async def _run(self, pool: ThreadPoolExecutor, function: Callable[[], None]) -> None:
        """Run a function in a thread: once begun, to its end, whatever becomes of the task; then the lock may go."""
        async with self._turn:  # tasks of one request may store at the same time
            self._work = pool.submit(contextvars.copy_context().run, function)
            try:
                await asyncio.wrap_future(self._work)
            except asyncio.CancelledError:
                self._work.add_done_callback(lambda _: self.give_up())
                raise


class SessionMiddleware:
    """Gives requests and websockets their session, as ``scope["session"]``: ``request.session`` in Starlette.

    :param app: the application.
    :param manager: as it is, for everything.
    :raises ConfigurationError: for a session class that is no mapping.
    """

    def __init__(self, app: Application, manager: SessionManager[Any]) -> None:
        self.app = app
        self.manager = for_mappings(manager)

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or \
                getattr(scope.get("session2.session"), "manager", None) is self.manager:
            await self.app(scope, receive, send)
            return
        session = scope["session"] = scope["session2.session"] = ASGISession(self.manager, scope)
        try:
            await session.load()
            await self.app(scope, receive, partial(session.send_on, send))
            await session.end()
        except BaseException as error:
            session.give_up()
            reason = session.refusal if session.refusal and isinstance(error, Exception) else error
            if session.headers_sent or not _refuses(reason):
                raise
            await _refuse(reason, send)
        finally:
            session.is_over = True


def _refuses(error: BaseException) -> bool:
    """Tell whether an error means an answer other than that of a crash."""
    return isinstance(error, SessionError) and error.is_refusal


async def _refuse(error: Any, send: Send) -> None:
    if isinstance(error, StoreUnavailable):
        log.error("the session store is not available", exc_info=error)
    text = error.public.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text)),
               (b"vary", b"Cookie")]
    headers += [] if error.retry_after is None else [(b"retry-after", b"%d" % error.retry_after)]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
