"""On every store a process is killed at every system call of a save that changes anything.

What it leaves is the old record or the new one, whole; the others are untouched, and everybody can go on.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from servers_durus import DurusServer, marked
from strace import Victims

from session2.record import Record, Version
from session2.store.base import SessionStore
from session2.store.shelve import dbmfile
from session2.urls import from_url

# Several pages of SQLite, and more than drivers send at once.
ANYBODY = Record(b"any " * 2900, 800.0, 850.0, 850.0)
OLD = Record(b"old " * 3000, 800.0, 900.0, 900.0, None, "anna")
NEW = Record(b"new " * 3100, 800.0, 950.0, 950.0, None, "anna")
NEXT = Record(b"next", 800.0, 970.0, 970.0, None, "anna")
OTHERS = {letter * 64: NEXT._replace(data=letter.encode() * 500) for letter in "ef"}

# What is there before and after.
STEPS = {"insert": (None, NEW), "login": (ANYBODY, NEW), "replace": (OLD, NEW), "remove": (OLD, None)}

# Where the store is, for a path or the address of a server, and how many kills there are at least.
STORES = {
    "directory": ("directory:{}?create=true&fsync=true", 4), "sqlite": ("sqlite:{}?synchronous=FULL&create=true", 20),
    "shelve": ("shelve:{}?fsync=true", 4), "durus": ("durus:{}", 4), "durus-server": ("{}", 5),
    "postgres": ("{}?table=killed", 2), "mariadb": ("{}?table=killed", 2),
    "memcached": ("{}?prefix=killed:", 2), "redis_server": ("{}?prefix=killed:", 2), "strict": ("{}-killed", 2)}
SWAPS = {flavour: (f"shelve:{{}}?flavour={flavour}&journal_size=0&fsync=true", 50) for flavour in dbmfile.FLAVOURS
         if flavour == "sqlite3" or dbmfile._has_module(flavour)}


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with closing(Victims()) as victims:
        yield victims


@pytest.mark.parametrize("kind", marked(STORES))
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_system_call(request: Any, tmp_path: Path, victims: Victims, kind: str, step: str) -> None:
    url, least = STORES[kind]
    with place(request, tmp_path, kind) as where:
        assert kills(victims, url.format(where), step) >= least


@pytest.mark.parametrize("flavour", SWAPS)
def test_killed_while_a_shelf_is_made_anew(tmp_path: Path, victims: Victims, flavour: str) -> None:
    url, least = SWAPS[flavour]
    assert kills(victims, url.format(tmp_path / "sessions"), "replace") >= least


@contextmanager
def place(request: Any, tmp_path: Path, kind: str) -> Iterator[Any]:
    """Return where a store of this kind finds nothing of others."""
    if kind == "durus-server":
        with DurusServer(tmp_path / "durus") as server:
            yield server.url
    elif kind in ("postgres", "mariadb"):
        server = request.getfixturevalue(kind)
        from_url(STORES[kind][0].format(server.url)).setup()
        try:
            yield server.url
        finally:
            with server.connect() as connection, connection.cursor() as cursor:
                cursor.execute("DROP TABLE IF EXISTS killed")
    elif kind in ("memcached", "redis_server", "strict"):
        yield request.getfixturevalue(kind).url
    else:
        yield tmp_path / "sessions"


def kills(victims: Victims, url: str, step: str) -> int:
    """Kill a process at each system call of the step; return how often."""
    before, after = STEPS[step]
    keys = map("{:064x}".format, count())  # in the directory store each is in a folder of its own
    found = []
    status, calls, left = attempt(victims, url, step, next(keys))
    assert (status, left) == (0, after)
    for call in dict.fromkeys(calls):
        for number in count(1):
            status, _, left = attempt(victims, url, step, next(keys), f"-einject={call}:signal=KILL:when={number}")
            if (status, left) == (0, after):  # it makes no more such calls
                break
            assert status == -signal.SIGKILL
            assert left in (before, after), (call, number)
            found.append(left)
    assert set(found) == {before, after}
    return len(found)


def attempt(victims: Victims, url: str, step: str, key: str, *options: str) -> tuple[int, list[str], Record | None]:
    """Do the step in another process; return how that ended, the system calls it made, and what is there now."""
    before, after = STEPS[step]
    with closing(from_url(url)) as store:
        store.setup()
        version = None if before is None else store.write(key, before, None)
        for other, record in OTHERS.items():  # so that in a file they may be behind it
            put(store, other, record)
    job = ("remove", key, version) if after is None else ("write", key, after, version)
    with noticed_by_the_server(urlsplit(url).port):
        status, calls = victims.do(url, job, *options)
    with closing(from_url(url)) as store:
        return status, calls, taken(store, key)


def taken(store: SessionStore, key: str) -> Record | None:
    """Return the record, which is replaced and then removed; the others stay what they are."""
    found = contents(store, key)
    version = put(store, key, NEXT)
    assert contents(store, key) == {**OTHERS, key: NEXT}
    store.remove(key, version)
    assert contents(store, key) == OTHERS
    left = found.pop(key, None)
    assert found == OTHERS
    return left


def put(store: SessionStore, key: str, record: Record) -> Version:
    """Store a record over whatever there is."""
    stored = store.read(key)
    return store.write(key, record, stored and stored.version)


def contents(store: SessionStore, key: str) -> dict[str, Record]:
    """Return all records, of which `key` may be one; the search by user finds those it should."""
    if not store.can_list:
        return {key: record._replace(version=None) for key in (*OTHERS, key) if (record := store.read(key)) is not None}
    found = {key: record._replace(version=None) for key, record in store.scan()}
    assert sorted(key for key, _ in store.records_of("anna")) == sorted(key for key in found if found[key].user)
    return found


@contextmanager
def noticed_by_the_server(port: int | None) -> Iterator[None]:
    """Wait until a server knows of the end of those who connected to it, and so has done all that they asked for."""
    before = peers(port)
    yield
    end = time.monotonic() + 60
    while peers(port) - before:
        assert time.monotonic() < end
        time.sleep(0.001)


def peers(port: int | None) -> set[str]:
    """Return the addresses to which a server on this port holds a connection."""
    if port is None:
        return set()
    sockets = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {peer for local, peer, state in sockets if local.endswith(f":{port:04X}") and state in ("01", "08")}
