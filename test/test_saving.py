"""Sessions stored by compare-and-set: who merges, and in which order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from servers_redis import wait_until

from session2 import DictSession, SessionManager, saving
from session2.events import Event
from session2.store.volatile import VolatileSessionStore


def loaded(manager: SessionManager[DictSession], id: str | None) -> DictSession:
    found = manager.load(id)
    assert found is not None
    return found


def test_who_comes_while_somebody_merges_gets_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first in line would find that what it has just read is changed again, and the last would starve."""
    manager = SessionManager(VolatileSessionStore(), DictSession)
    session = manager.new_session()
    manager.save(session)
    first, second, third = (loaded(manager, session.id) for _ in range(3))
    for number, each in enumerate((first, second, third)):
        each[f"of {number}"] = number
    manager.save(first)
    filing, line = manager.sessions.filing, manager.sessions.saving.lines._here().lines
    locate, write, late = filing.locate_again, manager.store.write, threading.Thread(target=manager.save, args=(third,))
    writers: list[int | None] = []

    def locate_with_company(session: Any) -> Any:
        """While the second, which has to merge, looks for what the first has stored, the third is to be saved."""
        found = locate(session)
        if not late.ident:
            late.start()
            wait_until(lambda: line or late.ident in writers)
        return found

    def noted(*arguments: Any) -> Any:
        writers.append(threading.get_ident())
        return write(*arguments)

    monkeypatch.setattr(filing, "locate_again", locate_with_company)
    monkeypatch.setattr(manager.store, "write", noted)
    manager.save(second)
    late.join()
    here = threading.get_ident()
    assert writers == [here, here, late.ident]  # the first of these in vain
    assert dict(loaded(manager, session.id)) == {"of 0": 0, "of 1": 1, "of 2": 2}


def test_a_save_from_within_a_merge_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor any other for long: who merges may hang."""
    monkeypatch.setattr(saving, "_COURTESY", 0.0)
    heard: list[str] = []

    def note(event: Event) -> None:
        if event.name == "conflict" and not heard:
            heard.append(event.name)
            third = loaded(manager, session.id)
            third["of 2"] = 2
            manager.save(third)

    manager = SessionManager(VolatileSessionStore(observer=note), DictSession)
    session = manager.new_session()
    manager.save(session)
    first, second = loaded(manager, session.id), loaded(manager, session.id)
    first["of 0"], second["of 1"] = 0, 1
    manager.save(first)
    manager.save(second)
    assert dict(loaded(manager, session.id)) == {"of 0": 0, "of 1": 1, "of 2": 2}
