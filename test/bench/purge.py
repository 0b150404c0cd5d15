"""``PYTHONPATH=.:test python test/bench/purge.py``: a purge of many expired sessions while others are being served.

Fills a table on a private server, half of it expired, then purges it and tells how long each statement took and what
the visitors noticed, compared with the same seconds without a purge.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from servers_sql import MariaServer, PostgresServer, Server

from session2 import DictSession, from_url
from session2.session import ties
from session2.store.sql.store import SQLSessionStore
from session2.tokens import new_id

CHUNK = 100_000
VISITORS = 4
DAY = 86400

# A kilobyte of data each, expired within the last day or due in the next.  Keys come in order, or it would take hours.
FILL = {
    PostgresServer: """
        INSERT INTO sessions (key, data, version, created, modified, accessed, expires)
        SELECT to_char({first} + n, 'FM00000000') || repeat(md5(n::text), 2), decode(repeat(md5(n::text), 64), 'hex'),
            n, {now}, {now}, {now}, {now} + (random() * 2 - 1) * 86400 FROM generate_series(1, {chunk}) AS n""",
    MariaServer: """
        INSERT INTO sessions (`key`, data, version, created, modified, accessed, expires)
        SELECT concat(lpad({first} + seq, 8, '0'), repeat(md5(seq), 2)), unhex(repeat(md5(seq), 64)),
            seq, {now}, {now}, {now}, {now} + (rand() * 2 - 1) * 86400 FROM seq_1_to_{chunk}""",
}


def execute(server: Any, statement: str) -> list[Any]:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def fill(server: Server, rows: int) -> None:
    now = time.time()
    for first in range(0, rows, CHUNK):
        execute(server, FILL[type(server)].format(first=first, now=now, chunk=CHUNK))
        print(f"\r  {first + CHUNK:,} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    if isinstance(server, PostgresServer):
        execute(server, "VACUUM ANALYZE sessions")


def visit(url: str, over: threading.Event, latencies: list[float]) -> None:
    """Load, change and save, again and again, with some time to think."""
    store = from_url(url)
    session = DictSession(new_id())
    ties(session).expires = time.time() + DAY
    session["n"], session["text"] = 0, "x" * 1000
    store.sessions.save(session)
    while not over.is_set():
        start = time.perf_counter()
        found = store.sessions.load(str(session.id), DictSession)
        assert found is not None
        found["n"] += 1
        store.sessions.save(found)
        latencies.append(time.perf_counter() - start)
        over.wait(0.005)
    store.close()


def while_visited(url: str, action: Callable[[], object]) -> list[float]:
    """Return how long the requests of visitors took during `action`."""
    over, latencies = threading.Event(), list[float]()
    threads = [threading.Thread(target=visit, args=(url, over, latencies)) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    try:
        action()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return latencies


def timed(store: SQLSessionStore) -> list[tuple[float, str]]:
    """Have every statement of the store timed."""
    times, send = [], store._send

    def measure(connection: Any, text: str, arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return send(connection, text, arguments)
        finally:
            times.append((time.perf_counter() - start, " ".join(text.split()[:3])))

    store._send = measure  # type: ignore[method-assign]
    return times


def report(name: str, latencies: list[float]) -> None:
    cuts = statistics.quantiles(latencies, n=100)
    print(f"  {name}: {len(latencies)} requests, median {cuts[49] * 1000:.1f} ms, "
          f"99 % within {cuts[98] * 1000:.1f} ms, longest {max(latencies) * 1000:.0f} ms", flush=True)


def measure(server: Any, rows: int, batch: int) -> None:
    store = from_url(server.url)
    assert isinstance(store, SQLSessionStore)
    store.setup()
    fill(server, rows)
    report("before", while_visited(server.url, lambda: time.sleep(10)))
    times = timed(store)
    start = time.perf_counter()
    deleted: list[int] = []
    latencies = while_visited(server.url, lambda: deleted.append(store.purge(batch=batch)))
    seconds = time.perf_counter() - start
    report("during", latencies)
    longest, text = max(times)
    print(f"  purge: {deleted[0]:,} deleted in {seconds:.0f} s by {len(times)} statements, "
          f"longest {longest * 1000:.0f} ms ({text})")
    times.clear()
    start = time.perf_counter()
    print(f"  purge again: {store.purge()} deleted in {time.perf_counter() - start:.2f} s, "
          f"longest statement {max(times)[0] * 1000:.0f} ms")
    times.clear()
    start = time.perf_counter()
    counts = store.delete_old_sessions(60)
    print(f"  delete_old_sessions: {counts} in {time.perf_counter() - start:.0f} s, "
          f"longest statement {max(times)[0] * 1000:.0f} ms")
    store.close()


def main() -> None:
    """Measure one server after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--batch", type=int, default=1000)
    arguments = parser.parse_args()
    for kind in (PostgresServer, MariaServer):
        print(kind.__name__, flush=True)
        server = kind(durable=True)
        try:
            measure(server, arguments.rows, arguments.batch)
        finally:
            server.close()


if __name__ == "__main__":
    main()
