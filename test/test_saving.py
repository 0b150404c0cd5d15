"""Sessions stored by compare-and-set: who merges, and in which order."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from servers_redis import wait_until

from session2 import DictSession, SessionManager
from session2.store.volatile import VolatileSessionStore


def test_who_comes_while_somebody_merges_gets_in_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the first in line would find that what it has just read is changed again, and the last would starve."""
    manager = SessionManager(VolatileSessionStore(), DictSession)
    session = manager.new_session()
    manager.save(session)
    first, second, third = (manager.load(session.id) for _ in range(3))
    for number, each in enumerate((first, second, third)):
        assert each is not None
        each[f"of {number}"] = number
    manager.save(first)
    filing, line = manager.sessions.filing, manager.sessions.saving.lines._here()[0].lines
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
    stored = manager.load(session.id)
    assert stored is not None
    assert dict(stored) == {"of 0": 0, "of 1": 1, "of 2": 2}
