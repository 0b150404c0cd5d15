"""What the log and the observer hear, and that no id is among it."""

import logging
from typing import Any

import pytest

from session2 import DictSession, SessionManager
from session2.events import Event
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange


class Clock:
    now = 1.8e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heard() -> list[Event]:
    return []


def test_a_life_is_told_to_log_and_observer(heard: list[Event], caplog: pytest.LogCaptureFixture) -> None:
    """CVE-2023-20866: a session id was written to the log."""
    caplog.set_level(logging.DEBUG, "session2")
    clock = Clock()
    store = VolatileSessionStore(clock=clock, observer=heard.append)
    manager: SessionManager[Any] = SessionManager(store, DictSession, renew_after=1000)
    cookies: dict[str, str] = {}
    ids = set()

    def visit(page: Any) -> None:
        request = FakeExchange(cookies)
        manager.start_request(request)
        page(request)
        manager.finish_successful_request(request)
        ids.update(cookies.values())

    visit(lambda request: request.session.update(a=1))
    slow = FakeExchange(dict(cookies))
    manager.start_request(slow)
    slow.session["b"] = 1
    visit(lambda request: request.session.update(c=1))
    manager.finish_successful_request(slow)
    visit(lambda request: request.session.set_user("joe"))
    clock.now += 1001
    visit(lambda request: None)
    key = manager.keys()[0]
    manager.revoke_user("joe")
    assert manager.get(key) is None
    assert [event.name for event in heard] == ["created", "conflict", "rotated", "renewed", "revoked"]
    assert all(len(event.key) == 8 for event in heard)
    assert len(ids) == 3
    assert not any(id in caplog.text for id in ids)
    assert all(f"session {event.key} {event.name}" in caplog.text for event in heard)


def test_what_visitors_notice_is_seen_and_what_bots_cause_is_not(caplog: pytest.LogCaptureFixture) -> None:
    manager = SessionManager(VolatileSessionStore(), DictSession)
    session = manager.new_session()
    manager.save(session)
    caplog.set_level(logging.DEBUG, "session2")
    manager.delete(session)
    for cookie, level in ((session.id, logging.INFO), ("x" * 43, logging.DEBUG), ("../x", logging.DEBUG)):
        caplog.clear()
        manager.start_request(FakeExchange({"session2": str(cookie)}))
        assert [record.levelno for record in caplog.records] == [level]


def test_a_corrupt_record_is_a_warning(heard: list[Event], caplog: pytest.LogCaptureFixture) -> None:
    store = VolatileSessionStore(observer=heard.append)
    manager: SessionManager[Any] = SessionManager(store, DictSession)
    session = manager.new_session()
    session["a"] = 1
    manager.save(session)
    record = store.read(str(session.key))
    assert record is not None
    store.write(str(session.key), record._replace(data=b"garbage"), record.version)
    assert manager.load(session.id) is None
    assert heard[-1].name == "corrupt"
    assert [entry.levelname for entry in caplog.records] == ["WARNING"]


def test_a_broken_observer_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("the gauge is stuck")

    manager: SessionManager[Any] = SessionManager(VolatileSessionStore(observer=broken), DictSession)
    session = manager.new_session()
    session["a"] = 1
    manager.save(session)
    assert manager.load(session.id)["a"] == 1
    assert "the gauge is stuck" in caplog.text


def test_nothing_that_is_shown_tells_an_id_or_the_state() -> None:
    manager: SessionManager[Any] = SessionManager(VolatileSessionStore(), DictSession)
    session = manager.new_session()
    session["secret"] = "the state"
    manager.save(session)
    request = FakeExchange({"session2": str(session.id)})
    manager.start_request(request)
    shown = repr([request.visit, session.origin, manager.find(session.id), request.session,
                  list(manager.store.scan()), manager.lock(session)])
    assert str(session.id) not in shown
    assert "the state" not in shown
