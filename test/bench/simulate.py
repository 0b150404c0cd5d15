"""What it takes to keep so many sessions and serve so many requests: measured costs, and arithmetic.

``python test/bench/simulate.py --sessions 100e6 --requests 50000`` starts each server, fills it, and measures what a
session takes there and how much of a processor's time the server spends on a look, a change, a beginning and an end.
The rest is multiplication; all that is assumed is in `Load` and `Host`, and can be given.
"""

from __future__ import annotations

import argparse
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "test")]

from cases import STATE  # noqa: E402

from session2 import DictSession, SessionManager, from_url  # noqa: E402
from session2.testing.fakes import FakeExchange  # noqa: E402


class Load(NamedTuple):
    """What visitors do."""

    sessions: float
    requests: float
    """In a second."""
    changing: float = 0.2
    """The share of them that change their session; the others look at it."""
    lasts: float = 14 * 86400.0
    """Seconds after which a session has ended; as many begin as end."""


class Host(NamedTuple):
    """What a server has."""

    cores: int = 8
    busy: float = 0.5
    """The share of its processors that may be in use: the rest is for peaks, backups and a failed neighbour."""
    memory: float = 64e9
    """Bytes, of which an engine in memory may fill `full`."""
    disk: float = 1e12
    full: float = 0.7


class Costs(NamedTuple):
    """What was measured of one store."""

    bytes: float
    """A session takes, indexes and all."""
    look: float
    """Seconds of a processor of the server, as all that follow."""
    change: float
    begin: float
    purge: float
    in_memory: bool


class Plan(NamedTuple):
    """What the load takes."""

    cores: float
    size: float
    """Bytes."""
    hosts: int
    begins: float
    """In a second; as many are to be purged."""


def plan(costs: Costs, load: Load, host: Host) -> Plan:
    """Return what it takes to carry the load."""
    begins = load.sessions / load.lasts
    each = costs.look * (1 - load.changing) + costs.change * load.changing
    cores = load.requests * each + begins * (costs.begin + costs.purge)
    size = load.sessions * costs.bytes
    room = (host.memory if costs.in_memory else host.disk) * host.full
    return Plan(cores, size, max(math.ceil(cores / (host.cores * host.busy)), math.ceil(size / room)), begins)


# -- measuring --------------------------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """A server that runs."""

    url: str
    pid: int
    size: Callable[[], float]
    """Returns the bytes that all sessions take now."""
    in_memory: bool = False


def processor_time(pid: int) -> float:
    """Return the seconds of a processor that a server and its children have used."""
    tick, total = os.sysconf("SC_CLK_TCK"), 0.0
    for task in [pid, *_children(pid)]:
        fields = Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / tick  # its own, and of those it has waited for
    return total


def _children(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            yield child
            yield from _children(child)


def measured(subject: Subject, count: int) -> Costs:
    """Fill the store with `count` sessions and return what they cost."""
    store = from_url(subject.url)
    store.setup()
    manager: SessionManager[DictSession] = SessionManager(store, DictSession, touch_interval=86400.0)
    ids: list[str] = []
    before = subject.size()

    def begin() -> None:
        exchange: Any = FakeExchange()
        manager.start_request(exchange)
        exchange.session.update(STATE)
        manager.finish_successful_request(exchange)
        ids.append(exchange.session.id)

    def look() -> None:
        exchange: Any = FakeExchange({"session2": secrets.choice(ids)})
        manager.start_request(exchange)
        manager.finish_successful_request(exchange)

    def change() -> None:
        exchange: Any = FakeExchange({"session2": secrets.choice(ids)})
        manager.start_request(exchange)
        exchange.session["n"] = secrets.randbits(30)
        manager.finish_successful_request(exchange)

    each = {action.__name__: _time_of(subject.pid, action, count) for action in (begin, look, change)}
    size = (subject.size() - before) / count
    ends = store.clock() + 400 * 86400
    purge = _time_of(subject.pid, lambda: store.purge(ends), 1) / count if store.can_list else 0.0
    store.close()
    return Costs(size, each["look"], each["change"], each["begin"], purge, subject.in_memory)


def _time_of(pid: int, action: Callable[[], object], times: int) -> float:
    before = processor_time(pid)
    for _ in range(times):
        action()
    return (processor_time(pid) - before) / times


@contextmanager
def postgres() -> Iterator[Subject]:
    """A row each."""
    from servers_sql import PostgresServer

    server = PostgresServer(durable=True)
    try:
        with server.connect() as connection:
            def size() -> float:
                row = connection.execute("SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class "
                                         "WHERE relname = 'sessions'").fetchone()
                return float(row[0]) if row else 0.0

            yield Subject(server.url, server.pid, size)
    finally:
        server.close()


@contextmanager
def mysql() -> Iterator[Subject]:
    """A row each."""
    from servers_sql import MariaServer

    server = MariaServer(durable=True)
    try:
        yield Subject(server.url, server.pid, lambda: sum(
            path.stat().st_size for path in (server.folder / "data" / "session2").glob("sessions.*")))
    finally:
        server.close()


@contextmanager
def redis() -> Iterator[Subject]:
    """A key each."""
    from servers_redis import RedisServer

    server = RedisServer(durable=True)
    try:
        with server.open() as client:
            yield Subject(server.url, server.pid, lambda: float(client.info("memory")["used_memory"]), in_memory=True)
    finally:
        server.close()


@contextmanager
def memcached() -> Iterator[Subject]:
    """An item each."""
    from pymemcache import Client
    from servers_memcached import MemcachedServer

    with MemcachedServer("-m", "1024") as server, closing(Client(server.place)) as client:
        assert server._process is not None
        pid = server._process.process.pid
        yield Subject(server.url, pid, lambda: float(client.stats()[b"bytes"]), in_memory=True)


SUBJECTS = {"postgres": postgres, "mysql": mysql, "redis": redis, "memcached": memcached}


def main() -> None:
    """Print what was measured, and what it comes to."""
    parser = argparse.ArgumentParser(prog="simulate.py", description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="*", help=f"{', '.join(SUBJECTS)} (default: all)")
    parser.add_argument("--sessions", type=float, default=100e6)
    parser.add_argument("--requests", type=float, default=50_000, help="in a second")
    parser.add_argument("--changing", type=float, default=0.2, help="share of requests that change their session")
    parser.add_argument("--days", type=float, default=14, help="after which a session has ended")
    parser.add_argument("--cores", type=int, default=8, help="of a host")
    parser.add_argument("--memory", type=float, default=64, help="of a host, in GB")
    parser.add_argument("--count", type=int, default=20_000, help="of sessions to measure with")
    given = parser.parse_args()
    load = Load(given.sessions, given.requests, given.changing, given.days * 86400)
    host = Host(given.cores, memory=given.memory * 1e9)
    print("| | bytes a session | look | change | begin | purge | cores | hosts | GB |\n" + "|---" * 9 + "|")
    for name in given.stores or SUBJECTS:
        with SUBJECTS[name]() as subject:
            costs = measured(subject, given.count)
        total = plan(costs, load, host)
        times = " | ".join(f"{seconds * 1e6:.0f}" for seconds in costs[1:5])
        print(f"| {name} | {costs.bytes:,.0f} | {times} | {total.cores:,.0f} | {total.hosts:,} "
              f"| {total.size / 1e9:,.0f} |", flush=True)
    print("\nMicroseconds of a processor of the server; in a second as many sessions begin and end as "
          f"{load.sessions / load.lasts:,.0f}.")


if __name__ == "__main__":
    main()
