"""How long many requests of one session take together, one at a time, compared with their work alone.

``python test/bench/locks.py`` prints, for each store, the time of 20 parallel requests that each hold the lock of the
same session for some milliseconds, divided by the sum of these milliseconds: 1.0 would be perfect.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]

from cherrypy.lib.sessions import FileSession  # noqa: E402

from session2 import DictSession, SessionManager, from_url  # noqa: E402
from session2.testing.fakes import FakeExchange  # noqa: E402

REQUESTS, WORK, ROUNDS = 20, 0.01, 5


def together(count: int, request: Callable[[], None]) -> None:
    """Make so many requests at once, each in a thread of its own."""
    threads = [threading.Thread(target=request) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def ours(url: str, session_id: str) -> Callable[[], None]:
    """Return a request in lock mode."""
    manager: SessionManager[DictSession] = SessionManager(from_url(url), DictSession, concurrency="lock")

    def request() -> None:
        exchange: Any = FakeExchange({"session2": session_id})
        manager.start_request(exchange)
        time.sleep(WORK)
        exchange.session["n"] += 1
        manager.finish_successful_request(exchange)

    return request


def cherrypys(folder: str, session_id: str) -> Callable[[], None]:
    """Return a request as CherryPy's session tool arranges it."""
    FileSession.setup(storage_path=folder)

    def request() -> None:
        session = FileSession(session_id, storage_path=folder, clean_freq=0)
        session.acquire_lock()
        session["n"] += 1
        time.sleep(WORK)
        session.save()

    return request


def half(make: Callable[[str, str], Callable[[], None]], where: str, session_id: str, ready: Any, done: Any) -> None:
    """Make half of the requests, in a process of its own."""
    request = make(where, session_id)
    for _ in range(ROUNDS):
        ready.wait()
        together(REQUESTS // 2, request)
        done.wait()


def measure(make: Callable[[str, str], Callable[[], None]], where: str, session_id: str) -> tuple[float, float]:
    """Return the ratios for one process and for two."""
    request = make(where, session_id)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(3), context.Barrier(3)
    processes = [context.Process(target=half, args=(make, where, session_id, ready, done)) for _ in range(2)]
    for process in processes:
        process.start()
    one, two = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        together(REQUESTS, request)
        one.append((time.perf_counter() - start) / (REQUESTS * WORK))
        ready.wait()
        start = time.perf_counter()
        done.wait()
        two.append((time.perf_counter() - start) / (REQUESTS * WORK))
    for process in processes:
        process.join()
    return statistics.median(one), statistics.median(two)


def begin(url: str) -> str:
    """Store a session and return its id."""
    store = from_url(url)
    store.setup()
    manager: SessionManager[DictSession] = SessionManager(store, DictSession)
    session = manager.new_session()
    session["n"] = 0
    manager.save(session)
    return str(session.id)


def main() -> None:
    """Print a line for each store named by its URL, or for those that need no server, and for CherryPy's."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".bench-") as folder:
        urls = sys.argv[1:] or [f"directory:{folder}/ours?create=true", f"shelve:{folder}/shelf",
                                f"sqlite:{folder}/ours.db?create=true"]
        print(f"{REQUESTS} requests of one session, {WORK * 1000:g} ms each: total time / work\n")
        print(f"{'':24} 1 process  2 processes")
        for url in urls:
            one, two = measure(ours, url, begin(url))
            print(f"{'session2 ' + url.partition(':')[0]:24} {one:9.2f} {two:12.2f}", flush=True)
        FileSession.setup(storage_path=folder)
        session = FileSession(storage_path=folder, clean_freq=0)
        session.acquire_lock()
        session["n"] = 0
        session.save()
        one, two = measure(cherrypys, folder, str(session.id))
        print(f"{'CherryPy FileSession':24} {one:9.2f} {two:12.2f}")


if __name__ == "__main__":
    main()
