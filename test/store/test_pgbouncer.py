"""PostgresSessionStore behind a real PgBouncer: each statement may go to another process of the server."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from c_fork import importing
from psycopg_pool import ConnectionPool
from servers_sql import Bouncer, PostgresServer

from session2 import ConfigurationError
from session2.store.postgres.store import PostgresSessionStore
from session2.testing.store.samples import key_of, record_at
from session2.urls import from_url

LOAD = """
import os, random, sys
import psycopg
from c_fork import fork_in_c
from psycopg_pool import ConnectionPool
from session2 import DictSession
from session2.store.postgres import PostgresSessionStore
from session2.testing.store.samples import key_of, record_at

url, table, lend, fork = sys.argv[1:]
lent = eval(lend)
store = PostgresSessionStore(lent, table, pool_size=2)
if not isinstance(lent, str):
    store.write(key_of(9999), record_at(store.clock()), None)
for _ in range(3):
    if not eval(fork):
        break
else:
    status = max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(3))
    if isinstance(lent, ConnectionPool):
        lent.close()  # Python 3.13 cannot stop its threads at the end
    sys.exit(status)

random.seed(os.getpid())
for turn in range(100):
    number = random.randrange(50)
    record = store.read(key_of(number))
    assert record is not None, "a session that nobody ended is gone"
    assert record.data == str(number).encode(), "a stranger's session"
    store.touch(key_of(number), store.clock(), None)
    mine = key_of(10_000 + os.getpid() * 1000 + turn)
    store.write(mine, record_at(store.clock(), b"mine"), None)
    store.remove(mine)
    assert store.read(mine) is None
os._exit(0)
"""


LENT = {
    "url": "url",
    "psycopg.connect(url)": "connection",
    "psycopg.connect(url, prepare_threshold=None)": "careful connection",
    "ConnectionPool(url, min_size=1, max_size=2, open=True, kwargs={'prepare_threshold': None})": "careful pool",
    "ConnectionPool(url, min_size=1, max_size=2, open=True, kwargs={'autocommit': True})": "pool",
}
"""What a store may be made with."""


@pytest.fixture(scope="module", params=["session", "transaction"])
def bouncer(request: Any, postgres: PostgresServer) -> Iterator[Bouncer]:
    server = Bouncer(postgres, request.param)
    yield server
    server.close()


@pytest.fixture
def table(postgres: PostgresServer) -> Iterator[str]:
    name = f"s_{uuid.uuid4().hex}"
    yield name
    with postgres.connect() as connection:
        connection.execute(f'DROP TABLE IF EXISTS "{name}"')


@pytest.mark.parametrize(("lend", "fork"), [
    ("url", "os.fork()"), *((lend, "fork_in_c()") for lend in LENT)],
    ids=["forked by Python", *LENT.values()])
def test_nothing_is_lost_or_mixed_up(bouncer: Bouncer, table: str, lend: str, fork: str) -> None:
    """Names of statements made it so: psycopg names those of every client alike, and a read ran another's removal."""
    store = PostgresSessionStore(bouncer.url, table)
    store.setup()
    for number in range(50):
        store.write(key_of(number), record_at(store.clock(), str(number).encode()), None)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", LOAD, bouncer.url, table, lend, fork],
                          capture_output=True, text=True, timeout=120, env=importing())
    assert (done.returncode, done.stderr) == (0, "")
    left = {key: record.data for key, record in store.scan()}
    assert all(left.get(key_of(number)) == str(number).encode() for number in range(50))
    store.close()


def test_settings_do_not_leak_to_other_clients(bouncer: Bouncer, table: str) -> None:
    store = from_url(f"{bouncer.url}?table={table}&timeout=7&durable=false")
    store.setup()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: store.write(key_of(number), record_at(1e10), None), range(50)))
    store.close()
    for _ in range(6):
        with psycopg.connect(bouncer.url, autocommit=True) as other:
            told = other.execute("SELECT current_setting('statement_timeout'), current_setting('synchronous_commit')")
            assert told.fetchone() == ("0", "on")


def test_names_where_nothing_is_in_between(postgres: PostgresServer, bouncer: Bouncer, table: str) -> None:
    for url, named in ((postgres.url, True), (bouncer.url, False), (f"{postgres.url}?prepare=false", False)):
        store = from_url(f"{url}{'&' if '?' in url else '?'}table={table}&pool_size=1")
        store.setup()
        for _ in range(20):
            store.read(key_of(0))
        names = store._connections.use(
            lambda lent: lent.execute("SELECT name FROM pg_prepared_statements").fetchall())
        assert bool(names) is named
        store.close()


def test_prepare_false_sets_nothing_for_the_session(postgres: PostgresServer, table: str) -> None:
    store = from_url(f"{postgres.url}?table={table}&prepare=false&timeout=7")
    assert store._connections.use(lambda lent: lent.execute("SHOW statement_timeout").fetchone()) == ("0",)
    store.close()
    with pytest.raises(ConfigurationError, match="synchronous_commit"):
        from_url(f"{postgres.url}?prepare=false&durable=false")


@pytest.mark.parametrize("spoil", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_names_that_are_not_kept_are_given_up(postgres: PostgresServer, table: str, spoil: str,
                                              caplog: pytest.LogCaptureFixture) -> None:
    """A pooler may pass on the number of the process that greeted it; then the errors tell."""
    store = PostgresSessionStore(postgres.url, table, pool_size=1)
    store.setup()
    store.write(key_of(0), record_at(store.clock()), None)
    for _ in range(20):
        assert store.read(key_of(0))
    store._connections.use(lambda lent: lent.pgconn.exec_(spoil.encode()) and None)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            assert store.read(key_of(0))
    assert "prepare=false" in caplog.text
    assert store._connections.use(lambda lent: lent.prepare_threshold) is None
    store.close()


def test_nobody_gives_the_name_of_another(postgres: PostgresServer, table: str) -> None:
    """Where a pooler sends a statement to another process after all, its name must not be that of another there."""
    stores = [PostgresSessionStore(postgres.url, table, pool_size=1) for _ in range(2)]
    stores[0].setup()
    names: list[Any] = []
    for store in stores:
        for _ in range(20):
            store.read(key_of(0))
            store.touch(key_of(0), 1.0, None)
        names += store._connections.use(
            lambda lent: lent.execute("SELECT name FROM pg_prepared_statements").fetchall())
        store.close()
    assert len(names) == len(set(names)) >= 4


def test_lent_connections_give_no_names_to_our_statements(postgres: PostgresServer, table: str) -> None:
    with ConnectionPool(postgres.url, min_size=1, max_size=1, kwargs={"autocommit": True, "prepare_threshold": 0},
                        open=True) as pool:
        store = PostgresSessionStore(pool, table)
        store.setup()
        for _ in range(random.randrange(5, 9)):
            store.read(key_of(0))
        with pool.connection() as connection:
            assert connection.execute("SELECT name FROM pg_prepared_statements", prepare=False).fetchall() == []
        store.close()
