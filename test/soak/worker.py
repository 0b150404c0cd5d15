"""What one worker does to a store, and the journal it keeps of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from session2 import DictSession, SessionManager, StoreUnavailable, from_url, merge
from session2.record import Outcome

SLOTS = 12
"""How many sessions the workers of a store share."""


class Soaked(DictSession):
    """A counter that all workers share, and a number of each worker's own."""

    merge_rules = {"total": merge.add}


Manager = SessionManager[Soaked]


class Journal:
    """Lines of JSON, each there before the next step is taken: a kill -9 of the worker loses none."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def note(self, what: str, id: str, **more: Any) -> None:
        line = {"what": what, "id": id, "at": time.monotonic(), **more}
        os.write(self._file, json.dumps(line).encode() + b"\n")


def manage(url: str) -> Manager:
    return SessionManager(from_url(url), Soaked, lock_lease=2.0, lock_timeout=10.0)


def prepare(url: str, folder: Path) -> None:
    """Begin the sessions."""
    manager = manage(url)
    manager.store.setup()
    for slot in range(SLOTS):
        renew(manager, folder, slot)
    manager.store.close()


def renew(manager: Manager, folder: Path, slot: int) -> None:
    """Put a new session into a slot."""
    session = manager.new_session()
    session["total"] = 0
    user = secrets.token_hex(8)  # of this session only: to revoke the user is to end it
    session.set_user(user)
    manager.save(session)
    path = folder / f"slot-{slot}"
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(f"{session.id} {user}")
    temporary.replace(path)


def work(url: str, folder: Path, number: int) -> None:
    """Do one thing after another until the file ``stop`` appears."""
    manager, journal = manage(url), Journal(folder / f"journal-{number}")
    counts: dict[str, int] = {}
    while not (folder / "stop").exists():
        slot = random.randrange(SLOTS)
        id, user = (folder / f"slot-{slot}").read_text().split()
        with outages(journal, id):
            chance = random.random()
            if chance < 0.02:
                end(manager, journal, id, user)
                renew(manager, folder, slot)
            elif chance < 0.1:
                count_locked(manager, journal, id)
            elif chance < 0.3:
                look(manager, journal, id)
            else:
                count(manager, journal, id, number, counts)
    manager.store.close()


@contextlib.contextmanager
def outages(journal: Journal, id: str) -> Iterator[None]:
    """Note that the server was away: what was under way may or may not have happened."""
    try:
        yield
    except StoreUnavailable:
        journal.note("outage", id)
        time.sleep(0.05)


def look(manager: Manager, journal: Journal, id: str) -> Soaked | None:
    began = time.monotonic()
    session = manager.load(id)
    if session is not None:
        journal.note("seen", id, began=began)
    return session


def count(manager: Manager, journal: Journal, id: str, number: int, counts: dict[str, int]) -> None:
    session = look(manager, journal, id)
    if session is None:
        return
    name = f"worker {number}"
    journal.note("read", id, worker=number, value=session.get(name, 0))
    counts[id] = max(counts.get(id, 0), session.get(name, 0)) + 1
    session[name] = counts[id]
    session["total"] += 1
    journal.note("try", id, worker=number, value=counts[id])
    if manager.save(session) is Outcome.SAVED:
        journal.note("counted", id, worker=number, value=counts[id])


def count_locked(manager: Manager, journal: Journal, id: str) -> None:
    with manager.lock(id):
        session = look(manager, journal, id)
        if session is None:
            return
        session["total"] += 1
        journal.note("try", id)
        if manager.save(session) is Outcome.SAVED:
            journal.note("counted", id)


def end(manager: Manager, journal: Journal, id: str, user: str) -> None:
    journal.note("ending", id)
    if random.random() < 0.5 or not manager.store.can_list:
        manager.delete(id)
    else:
        manager.revoke_user(user)
    journal.note("ended", id)
