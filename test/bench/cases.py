"""What is measured: the raw work, ours, and CherryPy's, each on an existing session of about 1 KB."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cherrypy.lib.sessions import FileSession, RamSession

from session2 import DictSession, SessionManager, from_url
from session2.store.base import SessionStore
from session2.testing.fakes import FakeExchange

SECONDS = 0.1
STATE: dict[str, Any] = {"user": "joe", "n": 0, "basket": [f"article {n}" for n in range(20)], "text": "x" * 600}


class Case(NamedTuple):
    """One thing to measure."""

    name: str
    change: Callable[[], object]
    read: Callable[[], object]


def use(state: Any) -> None:
    """Read three values and change one."""
    state["user"], state["basket"], state["text"]
    state["n"] += 1


def look(state: Any) -> None:
    """Read three values."""
    state["user"], state["basket"], state["text"]


def rate(cycle: Callable[[], object]) -> float:
    """Return cycles per second, measured for about `SECONDS`."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < SECONDS:
        for _ in range(20):
            cycle()
        count += 20
    return count / spent


def raw(name: str, load: Callable[[], bytes], save: Callable[[bytes], object]) -> Case:
    """Pickle and the bare back end."""
    def change() -> None:
        state = pickle.loads(load())
        use(state)
        save(pickle.dumps(state, 5))

    return Case(name, change, lambda: look(pickle.loads(load())))


def store_case(name: str, store: SessionStore) -> Case:
    """Our store without the manager."""
    manager: SessionManager[DictSession] = SessionManager(store, DictSession)
    session = manager.new_session()
    session.update(STATE)
    manager.save(session)
    session_id = str(session.id)

    def change() -> None:
        found = store.sessions.load(session_id, DictSession)
        use(found)
        assert found is not None
        store.sessions.save(found)

    return Case(name, change, lambda: look(store.sessions.load(session_id, DictSession)))


def manager_case(name: str, store: SessionStore) -> Case:
    """A whole request: cookie, clocks, change detection."""
    manager: SessionManager[DictSession] = SessionManager(store, DictSession)
    cookies: dict[str, str] = {}

    def request(page: Callable[[Any], None]) -> None:
        exchange = FakeExchange(cookies)
        manager.start_request(exchange)
        page(exchange.session)
        manager.finish_successful_request(exchange)

    request(lambda session: session.update(STATE))
    return Case(name, lambda: request(use), lambda: request(look))


def ours(name: str, url: str) -> list[Case]:
    """Our store, bare and in whole requests."""
    store = from_url(url)
    store.setup()
    return [store_case(f"session2 {name}, store", store), manager_case(f"session2 {name}, request", store)]


def cherrypy_case(name: str, kind: type[Any], **options: Any) -> Case:
    """The life of a request as CherryPy's session tool arranges it."""
    if hasattr(kind, "setup"):
        kind.setup(**options)

    def request(session_id: str | None, page: Callable[[Any], None]) -> str:
        session = kind(session_id, clean_freq=0, **options)
        session.acquire_lock()
        page(session)
        session.save()
        return str(session.id)

    session_id = request(None, lambda session: session.update(STATE))
    return Case(name, lambda: request(session_id, use), lambda: request(session_id, look))


def others(folder: Path, **kinds: str) -> list[Case]:
    """The peers, imported here because they in turn need what is above."""
    import peers

    return [getattr(peers, peer)(kind, folder) for peer, kind in kinds.items()]


def files(folder: Path) -> list[Case]:
    """One file a session."""
    path = str(folder / "raw.pickle")

    def load() -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def save(data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)

    save(pickle.dumps(STATE))
    (folder / "cherrypy").mkdir()
    return [raw("temp + rename of a pickle", load, save), *ours("directory", f"directory:{folder}/ours?create=true"),
            cherrypy_case("CherryPy FileSession", FileSession, storage_path=str(folder / "cherrypy")),
            *others(folder, beakers="file", djangos="file")]


def database(folder: Path) -> list[Case]:
    """SQLite in WAL mode."""
    connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE s (key TEXT PRIMARY KEY, data BLOB)")
    connection.execute("INSERT INTO s VALUES ('k', ?)", [pickle.dumps(STATE)])

    def load() -> bytes:
        return bytes(connection.execute("SELECT data FROM s WHERE key = ?", ["k"]).fetchone()[0])

    def save(data: bytes) -> None:
        connection.execute("UPDATE s SET data = ? WHERE key = ?", [data, "k"])

    return [raw("sqlite3, WAL", load, save), *ours("sqlite", f"sqlite:{folder}/ours.db?create=true"),
            *others(folder, djangos="db")]


def shelf(folder: Path) -> list[Case]:
    """A dbm file that is opened for each operation, as session2 0.6 did."""
    import dbm

    path = str(folder / "raw.shelf")

    def load() -> bytes:
        with contextlib.closing(dbm.open(path, "c")) as file:
            return bytes(file["k"])

    def save(data: bytes) -> None:
        with contextlib.closing(dbm.open(path, "c")) as file:
            file["k"] = data

    save(pickle.dumps(STATE))
    return [raw("dbm, opened each time", load, save), *ours("shelve", f"shelve:{folder}/ours.shelf?create=true")]


def memory(folder: Path) -> list[Case]:
    """The memory of the process."""
    pickles = {"k": pickle.dumps(STATE)}
    return [raw("dict of pickles", lambda: pickles["k"], lambda data: pickles.__setitem__("k", data)),
            *ours("volatile", "volatile:"), cherrypy_case("CherryPy RamSession", RamSession),
            *others(folder, beakers="memory", djangos="cache")]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the groups by name; the first case of each is the yardstick."""
    return {"file": files, "sqlite": database, "shelve": shelf, "memory": memory}
