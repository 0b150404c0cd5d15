"""A visitor, whose requests a `SessionManager` serves from the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ...concurrency import Concurrency
from ...errors import LockTimeout
from ...manager import SessionManager
from ...store.base import SessionStore
from ...store.records import can_merge
from ..fakes import FakeExchange
from .shop import Shop

Manager = SessionManager[Shop]


class Visitor:
    """Keeps the session cookie from one request to the next, as a browser does, and sends them without HTTP."""

    def __init__(self, manager: Manager, cookie: str | None = None) -> None:
        self.manager = manager
        self.cookie = cookie

    @property
    def key(self) -> str:
        """The key of the session that the cookie names; "" if there is no cookie."""
        return "" if self.cookie is None else self.manager.store.sessions.key(self.cookie)

    def begin(self, concurrency: Concurrency | None = None) -> FakeExchange:
        exchange = FakeExchange({"session2": self.cookie} if self.cookie else None)
        self.manager.start_request(exchange, concurrency)
        return exchange

    def end(self, exchange: FakeExchange) -> None:
        self.manager.finish_successful_request(exchange)
        if exchange.sent:
            self.cookie = exchange.cookies.get("session2")

    @contextmanager
    def visit(self, concurrency: Concurrency | None = None) -> Iterator[Shop]:
        """Make one request; an exception is a failed one."""
        exchange = self.begin(concurrency)
        try:
            yield exchange.session
        except BaseException:
            self.manager.finish_failed_request(exchange)
            raise
        self.end(exchange)

    def look(self) -> dict[str, Any]:
        """Return what the session holds now."""
        with self.visit() as session:
            return dict(session.data)


def manage(store: SessionStore, **options: Any) -> Manager:
    """Return a manager with clocks that are easy to reckon with."""
    return SessionManager(store, Shop, **{"idle_timeout": 100, "lifetime": 1000, "touch_interval": 10, **options})


def logged_in(manager: Manager, user: str = "anna", **items: Any) -> Visitor:
    """Return a visitor whose session belongs to a user and holds the items."""
    visitor = Visitor(manager)
    with visitor.visit() as session:
        session.set_user(user)
        session.data.update(items)
    assert visitor.cookie is not None
    return visitor


def is_locked(store: SessionStore, key: str) -> bool:
    """Tell whether somebody holds the lock of this key."""
    try:
        store.lock(key, timeout=0).release()
    except LockTimeout:
        return True
    return False


def locked(store: SessionStore, key: str) -> AbstractContextManager[object]:
    """Hold the lock of a key meanwhile, where the store has locks."""
    return store.lock(key) if can_merge(type(store)) else nullcontext()
