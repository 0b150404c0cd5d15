"""What threads and processes do to a store in a race; each function takes the store first."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...errors import Conflict
from ...live import LiveSession
from ...manager import SessionManager
from ...record import Outcome, Version
from ...session import ties
from ...store.base import SessionStore
from ...tokens import new_id
from .crew import PATIENCE
from .samples import contents, key_of, record_at
from .shop import Shop
from .visitor import Visitor


def give_way() -> None:
    """Let others do what they may not do now: a race that goes wrong once in a million is not a test."""
    time.sleep(1e-5)


def load(store: SessionStore, id: str) -> Shop:
    session = store.sessions.load(id, Shop)
    if session is None:
        raise AssertionError("the session is not there")
    return session


def increment(store: SessionStore, id: str, times: int) -> None:
    """Add to a counter that has a merge rule."""
    for _ in range(times):
        session = load(store, id)
        session["visits"] += 1
        give_way()
        assert store.sessions.save(session) is Outcome.SAVED


def use_live(store: SessionStore, id: str, number: int, times: int) -> None:
    """Set ten keys of one's own, and add to the counter of all."""
    session = LiveSession(SessionManager(store, Shop), id)
    for key in range(10):
        session[f"{number} {key}"] = key
    for _ in range(times):
        session.increment("visits")


def set_keys(store: SessionStore, id: str, names: Sequence[str]) -> None:
    """Set each key in a copy of its own; all copies were loaded before the first is saved."""
    copies = [load(store, id) for _ in names]
    for name, session in zip(names, copies, strict=True):
        session[name] = name
        assert store.sessions.save(session) is Outcome.SAVED


def insert_each(store: SessionStore, keys: Sequence[str], data: bytes) -> set[str]:
    """Try to be the first at each key; return where it succeeded."""
    won = set()
    for key in keys:
        give_way()
        try:
            store.write(key, record_at(store.clock(), data), None)
        except Conflict:
            continue
        won.add(key)
    return won


def count(store: SessionStore, key: str, times: int) -> list[Version]:
    """Add to the number a record holds; return the versions written."""
    versions: list[Version] = []
    while len(versions) < times:
        found = store.read(key)
        assert found is not None
        give_way()
        try:
            versions.append(store.write(key, found._replace(data=b"%d" % (int(found.data) + 1)), found.version))
        except Conflict:
            continue
    return versions


def change_all(store: SessionStore, ids: Sequence[str]) -> None:
    """Save and touch each session again and again, until somebody else has deleted it."""
    for id, turn in itertools.product(ids, range(50)):
        session = store.sessions.load(id, Shop)
        if session is not None:
            give_way()
            session["changed"] = turn
            store.sessions.save(session)
            ties(session).accessed += 1
            store.sessions.touch(session)


def delete_all(store: SessionStore, ids: Sequence[str]) -> None:
    for id in ids:
        session = load(store, id)
        give_way()
        store.sessions.end(session)


def remove_each(store: SessionStore, versions: dict[str, Version]) -> set[str]:
    """Remove the records that still have these versions; return where it succeeded."""
    won = set()
    for key, version in versions.items():
        give_way()
        try:
            store.remove(key, version)
        except Conflict:
            continue
        won.add(key)
    return won


def replace_each(store: SessionStore, versions: dict[str, Version]) -> set[str]:
    """Replace the records that still have these versions; return where it succeeded."""
    won = set()
    for key, version in versions.items():
        give_way()
        try:
            store.write(key, record_at(store.clock(), b"replaced"), version)
        except Conflict:
            continue
        won.add(key)
    return won


def login_each(store: SessionStore, ids: Sequence[str], user: str) -> list[str]:
    """Log the user into each session, under a new id; return the new ids, whether or not it came to anything."""
    new_ids = []
    for session in [store.sessions.load(id, Shop) for id in ids]:
        if session is not None:
            session.set_user(user)
            new_ids.append(new_id())
            store.sessions.rotate(session, new_ids[-1])
    return new_ids


def log_in_limited(store: SessionStore, user: str, times: int, limit: int) -> None:
    """Begin sessions of a user who may have so many at once."""
    manager = SessionManager(store, Shop, max_sessions=limit)
    for _ in range(times):
        session = manager.new_session()
        session.set_user(user)
        manager.save(session)


def log_in_each(store: SessionStore, ids: Sequence[str]) -> None:
    """Log another user into each session; each may have one."""
    manager = SessionManager(store, Shop, max_sessions=1)
    for number, id in enumerate(ids):
        session = manager.load(id)
        if session is not None:
            session.set_user(number)
            manager.save(session)


def count_under_lock(store: SessionStore, key: str, path: Path, times: int) -> None:
    """Add to the number in a file, which nobody else may touch while the lock is held."""
    inside = path.with_suffix(".inside")
    for _ in range(times):
        with store.lock(key):
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
            path.write_text(str(int(path.read_text()) + 1))
            inside.unlink()


def take_lock(store: SessionStore, key: str) -> None:
    with store.lock(key):
        pass


def count_in_requests(store: SessionStore, cookie: str, times: int) -> None:
    """Add to a counter without a merge rule, in requests that take the lock."""
    visitor = Visitor(SessionManager(store, Shop, concurrency="lock"), cookie)
    for _ in range(times):
        with visitor.visit() as session:
            plain = session["plain"]
            give_way()
            session["plain"] = plain + 1


def checksummed(number: int) -> bytes:
    """Return data, of a size that differs from time to time, that proves itself whole."""
    body = b"%d " % number + random.Random(number).randbytes(10 ** (number % 6))
    return hashlib.sha256(body).digest() + body


def is_whole(data: bytes) -> bool:
    return hashlib.sha256(data[32:]).digest() == data[:32]


def write_whole(store: SessionStore, key: str, times: int) -> None:
    for number in range(times):
        found = store.read(key)
        assert found is not None
        store.write(key, record_at(store.clock(), checksummed(number)), found.version)


def read_whole(store: SessionStore, key: str, last: int) -> None:
    """Look at a record while it is being rewritten, to the last time; it is there, and whole, at every moment."""
    until = time.monotonic() + PATIENCE / 2
    data, end = b"", checksummed(last)
    while data != end:
        assert time.monotonic() < until, "the last record is never seen"
        found = store.read(key)
        assert found is not None
        data = found.data
        assert is_whole(data)
        assert [is_whole(data) for found_key, data in contents(store, key).items() if found_key == key] == [True]


def rewrite(store: SessionStore, key: str, times: int) -> None:
    """Write again and again what nobody else writes: there can be no conflict, and every write is to be seen."""
    found = store.read(key)
    assert found is not None
    version = found.version
    for number in range(times):
        version = store.write(key, found._replace(data=b"%d" % number), version)
        give_way()
        seen = store.read(key)
        assert seen is not None
        assert (seen.data, seen.version) == (b"%d" % number, version)


def touch_often(store: SessionStore, key: str, times: int) -> None:
    for number in range(times):
        store.touch(key, store.clock() + number, store.clock() + 5000 + number)


def purge_often(store: SessionStore, times: int) -> int:
    return sum(store.purge(batch=3) for _ in range(times))


def touch_each(store: SessionStore, keys: Sequence[str]) -> set[str]:
    """Use each session now; return those that were still there."""
    touched = set()
    for key in keys:
        if store.touch(key, store.clock(), store.clock() + 5000):
            touched.add(key)
        give_way()
    return touched


def write_each(store: SessionStore, keys: Sequence[str]) -> set[str]:
    """Save each session now; return those that were still there."""
    written = set()
    for key in keys:
        found = store.read(key)
        give_way()
        try:
            if found is not None:
                store.write(key, found._replace(accessed=store.clock()), found.version)
                written.add(key)
        except Conflict:
            continue
    return written


def purge_unused(store: SessionStore, times: int) -> None:
    for _ in range(times):
        give_way()
        store.purge(batch=3, unused_since=store.clock())


def insert_and_remove(store: SessionStore, keys: Sequence[str], times: int) -> None:
    for _ in range(times):
        for key in keys:
            store.write(key, record_at(store.clock(), b"passing"), None)
        for key in keys:
            store.remove(key)


def scan_often(store: SessionStore, keys: set[str], times: int) -> None:
    """Find all records that stay, while others come and go."""
    for _ in range(times):
        assert {key for key, _ in store.scan()} >= keys


def fork_and_increment(store: SessionStore, id: str, times: int) -> None:
    """Use a store, fork, and go on using it in both processes."""
    increment(store, id, times)
    children = [_fork(lambda: increment(store, id, times)) for _ in range(2)]
    increment(store, id, times)
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    increment(store, id, times)


def _fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def save_for_ever(store: SessionStore, id: str) -> Iterator[int]:
    """Save again and again and say each time which number is safe."""
    while True:
        session = load(store, id)
        session["n"] += 1
        session["body"] = checksummed(session["n"])
        assert store.sessions.save(session) is Outcome.SAVED
        yield session["n"]
        ties(session).accessed += 1
        store.sessions.touch(session)


def insert_and_remove_for_ever(store: SessionStore, seed: int) -> Iterator[tuple[int, int]]:
    """Insert records and remove them five steps later; say each time up to which number both is done."""
    for number in itertools.count():
        store.write(key_of(number), record_at(store.clock(), checksummed(number + seed)), None)
        yield number, number - 6
        store.remove(key_of(number - 5))
        yield number, number - 5


def lock_and_stay(store: SessionStore, key: str, lease: float) -> Iterator[str]:
    """Take the lock and never let it go."""
    held = store.lock(key, lease=lease)
    yield "locked"
    threading.Event().wait()
    held.release()
