"""What is measured: the raw work, ours, and CherryPy's, each on an existing session."""

from __future__ import annotations

import contextlib
import os
import pickle
import sqlite3
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cherrypy.lib.sessions import FileSession, RamSession

from session2 import DictSession, SessionManager, from_url
from session2.store.base import SessionStore
from session2.testing.fakes import FakeExchange

STATE: dict[str, Any] = {"user": "joe", "n": 0, "basket": [f"article {n}" for n in range(20)], "text": "x" * 600}


class Actions(NamedTuple):
    """What one worker does with its session."""

    change: Callable[[], object]
    read: Callable[[], object]


class Case(NamedTuple):
    """One thing to measure."""

    name: str
    worker: Callable[[int], Actions]  # called by each worker with its number: it opens what is not to be shared
    one_process: bool = False


def set_size(kilobytes: int) -> None:
    """Make the sessions to come so large."""
    STATE["text"] = "x" * (1000 * kilobytes - 400)


def use(state: Any) -> None:
    """Read three values and change one."""
    state["user"], state["basket"], state["text"]
    state["n"] += 1


def look(state: Any) -> None:
    """Read three values."""
    state["user"], state["basket"], state["text"]


def raw(name: str, begin: Callable[[int], tuple[Callable[[], bytes], Callable[[bytes], object]]], *,
        one_process: bool = False) -> Case:
    """Pickle and the bare back end.

    :param begin: returns what loads and what saves the bytes of a worker.
    """
    def worker(number: int) -> Actions:
        load, save = begin(number)
        save(pickle.dumps(STATE))

        def change() -> None:
            state = pickle.loads(load())
            use(state)
            save(pickle.dumps(state, 5))

        return Actions(change, lambda: look(pickle.loads(load())))

    return Case(name, worker, one_process)


def store_actions(store: SessionStore) -> Actions:
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

    return Actions(change, lambda: look(store.sessions.load(session_id, DictSession)))


def manager_actions(store: SessionStore) -> Actions:
    """A whole request: cookie, clocks, change detection."""
    manager: SessionManager[DictSession] = SessionManager(store, DictSession)
    cookies: dict[str, str] = {}

    def request(page: Callable[[Any], None]) -> None:
        exchange = FakeExchange(cookies)
        manager.start_request(exchange)
        page(exchange.session)
        manager.finish_successful_request(exchange)

    request(lambda session: session.update(STATE))
    return Actions(lambda: request(use), lambda: request(look))


def ours(name: str, url: str, *, one_process: bool = False) -> list[Case]:
    """Our store, bare and in whole requests."""
    store = from_url(url)
    store.setup()
    return [Case(f"session2 {name}, store", lambda number: store_actions(store), one_process),
            Case(f"session2 {name}, request", lambda number: manager_actions(store), one_process)]


def by_requests(request: Callable[[str | None, Callable[[Any], None]], str]) -> Actions:
    """Of peers: a request begins the session, and each action is one more."""
    session_id = request(None, lambda session: session.update(STATE))
    return Actions(lambda: request(session_id, use), lambda: request(session_id, look))


def cherrypy_case(name: str, kind: type[Any], *, one_process: bool = False, **options: Any) -> Case:
    """The life of a request as CherryPy's session tool arranges it."""
    if hasattr(kind, "setup"):
        kind.setup(**options)

    def request(session_id: str | None, page: Callable[[Any], None]) -> str:
        session = kind(session_id, clean_freq=0, **options)
        session.acquire_lock()
        page(session)
        session.save()
        return str(session.id)

    return Case(name, lambda number: by_requests(request), one_process)


def others(folder: Path, **kinds: str) -> list[Case]:
    """The peers, imported here because they in turn need what is above."""
    import peers

    return [getattr(peers, peer)(kind, folder) for peer, kind in kinds.items()]


def files(folder: Path) -> list[Case]:
    """One file a session."""
    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        path = str(folder / f"raw{number}.pickle")

        def load() -> bytes:
            with open(path, "rb") as file:
                return file.read()

        def save(data: bytes) -> None:
            handle, temporary = tempfile.mkstemp(dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)

        return load, save

    (folder / "cherrypy").mkdir()
    return [raw("temp + rename of a pickle", begin), *ours("directory", f"directory:{folder}/ours?create=true"),
            cherrypy_case("CherryPy FileSession", FileSession, storage_path=str(folder / "cherrypy")),
            *others(folder, beakers="file", djangos="file")]


def database(folder: Path) -> list[Case]:
    """SQLite in WAL mode, with a connection for each worker."""
    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        connection = sqlite3.connect(folder / "raw.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS s (key TEXT PRIMARY KEY, data BLOB)")
        connection.execute("INSERT INTO s VALUES (?, NULL)", [number])

        def load() -> bytes:
            return bytes(connection.execute("SELECT data FROM s WHERE key = ?", [number]).fetchone()[0])

        return load, lambda data: connection.execute("UPDATE s SET data = ? WHERE key = ?", [data, number])

    return [raw("sqlite3, WAL", begin), *ours("sqlite", f"sqlite:{folder}/ours.db?create=true"),
            *others(folder, djangos="db")]


def shelf(folder: Path) -> list[Case]:
    """A dbm file that is opened for each operation, as session2 0.6 did."""
    import dbm

    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        path = str(folder / f"raw{number}.shelf")  # one for each worker: dbm does not wait while another has it open

        def load() -> bytes:
            with contextlib.closing(dbm.open(path, "c")) as file:
                return bytes(file["k"])

        def save(data: bytes) -> None:
            with contextlib.closing(dbm.open(path, "c")) as file:
                file["k"] = data

        return load, save

    return [raw("dbm, opened each time", begin), *ours("shelve", f"shelve:{folder}/ours.shelf?create=true")]


def memory(folder: Path) -> list[Case]:
    """The memory of the process."""
    pickles: dict[int, bytes] = {}
    return [raw("dict of pickles", lambda number: (lambda: pickles[number], partial(pickles.__setitem__, number)),
                one_process=True),
            *ours("volatile", "volatile:", one_process=True),
            cherrypy_case("CherryPy RamSession", RamSession, one_process=True),
            *others(folder, beakers="memory", djangos="cache")]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the groups by name; the first case of each is the yardstick."""
    return {"file": files, "sqlite": database, "shelve": shelf, "memory": memory}
