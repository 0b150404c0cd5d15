"""What the tests of moving in share: the files that old packages wrote, and visitors with old cookies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from session2 import DictSession, SessionManager
from session2.migrate import FormerCookie
from session2.store.base import SessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock, FakeExchange

DATA = Path(__file__).parent / "migrate/data"

BEGAN = 1795000000.0
"""When the sessions of the generated files began; they were used a minute later."""


def an_hour_later() -> Clock:
    clock = Clock()
    clock.now = BEGAN + 3600
    return clock


def manager_of(former: Sequence[FormerCookie], store: SessionStore | None = None,
               **options: Any) -> SessionManager[DictSession]:
    """A manager, over a store in memory an hour after the sessions began, that knows former cookies."""
    return SessionManager(store or VolatileSessionStore(clock=an_hour_later()), DictSession, former=former, **options)


def visit(manager: SessionManager[Any], jar: dict[str, str]) -> FakeExchange:
    """A whole request of a browser with these cookies."""
    exchange = FakeExchange(jar)
    manager.start_request(exchange)
    manager.finish_successful_request(exchange)
    return exchange
