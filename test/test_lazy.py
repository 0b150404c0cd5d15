"""Sessions that are opened at the first look."""

from __future__ import annotations

import threading

from session2 import DictSession, SessionManager
from session2.lazy import LazySession
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange


def test_two_threads_of_a_request_that_look_at_once_have_one_session() -> None:
    """Else what the first put into it would be gone when the second had opened another."""
    manager, exchange = SessionManager(VolatileSessionStore(), DictSession), FakeExchange()
    threads: list[threading.Thread] = []
    written = threading.Event()

    def write() -> None:
        session["theirs"] = 1
        written.set()

    class Slow(LazySession):
        def _begin(self) -> None:
            if not threads:  # by now it is seen that nobody has opened it
                threads.append(threading.Thread(target=write))
                threads[0].start()
                written.wait(0.1)
            manager.start_request(exchange)

    session = Slow(exchange)
    session["ours"] = 1
    threads[0].join()
    assert dict(session) == {"ours": 1, "theirs": 1}
