import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from c_fork import fork_in_c

from session2 import DictSession, SessionManager
from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite
from session2.testing.fakes import Clock, FakeExchange
from session2.traces import is_lock

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere


class TestVolatile(StoreSuite):
    store_class = VolatileSessionStore


class LocksAreRecords(VolatileSessionStore):
    """Keeps its locks as every store does that has no better ones."""

    _locks = property(lambda self: None, lambda self, locks: None)  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_is_interrupted_leaves_no_lock_behind() -> None:
    store = LocksAreRecords(clock=Clock())
    manager = SessionManager(store, DictSession, concurrency="lock", lock_timeout=0)
    session = manager.new_session()
    manager.save(session)

    def request() -> None:
        exchange = FakeExchange({"session2": str(session.id)})
        try:
            manager.start_request(exchange)
            exchange.session["n"] = 1
            manager.finish_successful_request(exchange)
        finally:
            manager.finish_failed_request(exchange)

    for number in interrupted_everywhere(request):
        with manager.lock(str(session.id)):
            pass
        assert [key for key, _ in store.scan() if is_lock(key)] == [], f"interrupted at step {number}"


class InterruptsWhoLocks(LocksAreRecords):
    """Lets nobody know that he has the lock."""

    def write(self, key: str, record: Any, expected: Any) -> Any:
        version = super().write(key, record, expected)
        if is_lock(key):
            raise KeyboardInterrupt
        return version


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_lock_of_somebody_who_is_interrupted_twice_is_removed_at_the_next_use() -> None:
    store = InterruptsWhoLocks(clock=Clock())

    def take() -> None:
        with suppress(KeyboardInterrupt):
            store.lock("a" * 64)

    for number in interrupted_everywhere(take):
        store.queues.clear_left(store)
        assert [key for key, _ in store.scan() if is_lock(key)] == [], f"interrupted at step {number}"


def everything(store: VolatileSessionStore) -> None:
    """Do what needs the store to itself."""
    session = DictSession("a" * 43)
    store.save_session(session)
    store.lock("a" * 64).release()
    store.sessions.touch(session)
    store.purge()
    store.delete_session(session)
    assert not store.sessions.load("a" * 43, DictSession)


@pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["python", "c"])
@pytest.mark.parametrize("what", ["store", "queues"])
def test_a_fork_while_another_thread_is_inside_leaves_the_child_able_to_work(fork: Callable[[], int],
                                                                             what: str) -> None:
    store = VolatileSessionStore()
    inside, leave = threading.Event(), threading.Event()
    mutex = (store if what == "store" else store.queues)._mutex
    thread = threading.Thread(target=mutex.run, args=(lambda: (inside.set(), leave.wait(60)), 60, ""))
    thread.start()
    inside.wait(60)
    child = fork()
    if not child:
        signal.alarm(30)
        everything(store)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    leave.set()
    thread.join()
    assert status == 0
