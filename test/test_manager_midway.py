"""What a manager does for a request that is still under way: settle, lock, decide an id."""

from __future__ import annotations

from typing import Any

import pytest

from session2 import DictSession, LockTimeout, SessionManager, StoreUnavailable, tokens
from session2.exchange import Exchange
from session2.store.volatile import VolatileSessionStore
from session2.testing.store.visitor import is_locked


class Request(Exchange):
    """One request of a browser."""

    remote_address, is_secure, script_name = None, False, ""

    def __init__(self, cookie: str | None = None) -> None:
        self.cookie, self.sent = cookie, []

    def get_cookie(self, name: str) -> str | None:
        return self.cookie

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        self.sent.append(value)

    def add_header(self, name: str, value: str) -> None:
        """Not looked at here."""


@pytest.fixture
def manager() -> SessionManager[DictSession]:
    return SessionManager(VolatileSessionStore(), DictSession)


def begin(manager: Any, cookie: str | None = None, **items: Any) -> Request:
    request = Request(cookie)
    manager.start_request(request)
    request.session.update(items)
    return request


def stored(manager: Any, **items: Any) -> str:
    request = begin(manager, **items)
    manager.finish_successful_request(request)
    return request.sent[-1]


def test_settled_twice(manager):
    request = begin(manager, a=1)
    manager.settle_request(request)
    request.session["b"] = 2
    manager.settle_request(request)
    manager.finish_failed_request(request)
    assert len(request.sent) == 1
    assert dict(manager.load(request.sent[-1])) == {"a": 1, "b": 2}
    assert len(list(manager)) == 1


@pytest.mark.parametrize("reserved", [False, True])
def test_settled_again_after_an_answer_of_the_store_was_lost(manager, monkeypatch, reserved):
    request = begin(manager, stored(manager, a=1) if reserved else None, b=2)
    if reserved:
        manager.reserve_id(request.session)

    def write(*args):
        monkeypatch.undo()
        manager.store.write(*args)
        raise StoreUnavailable

    monkeypatch.setattr(manager.store, "write", write)
    with pytest.raises(StoreUnavailable):
        manager.settle_request(request)
    manager.settle_request(request)
    assert manager.load(request.sent[-1])["b"] == 2


def test_nothing_to_settle(manager):
    manager.settle_request(Request())
    request = begin(manager, a=1)
    manager.finish_failed_request(request)
    manager.settle_request(request)
    assert list(manager) == []


def test_logout_is_settled_once(manager):
    events = []
    manager.store.observer = lambda event: events.append(event.name)
    request = begin(manager, stored(manager, a=1))
    manager.expire_session(request)
    manager.settle_request(request)
    assert not request.visit.has_news()
    manager.settle_request(request)
    assert list(manager) == []
    assert events.count("ended") == 1


def test_logout_with_a_session_that_is_stored_in_mid_request(manager):
    old = stored(manager, a=1)
    request = begin(manager, old)
    manager.expire_session(request)
    request.session["b"] = 2
    manager.maintain_session(request.session, request)
    manager.finish_successful_request(request)
    assert manager.load(old) is None
    assert dict(manager.load(request.sent[-1])) == {"b": 2}
    late = begin(manager, old, c=3)
    manager.finish_successful_request(late)
    assert not late.sent, "it would take the new cookie away"


def test_nothing_to_store_in_mid_request(manager):
    request = begin(manager)
    manager.maintain_session(request.session, request)
    assert not request.sent
    assert not list(manager.store.scan())


def test_emptied_settled_and_filled(manager):
    old = stored(manager, a=1)
    request = begin(manager, old)
    request.session.clear()
    manager.settle_request(request)
    request.session["b"] = 2
    manager.settle_request(request)
    assert manager.load(old) is None
    assert dict(manager.load(request.sent[-1])) == {"b": 2}


def test_late_change_is_stored(manager):
    id = stored(manager, a=1)
    request = begin(manager, id, b=2)
    manager.settle_request(request, headers_sent=True)
    assert request.sent == []
    assert dict(manager.load(id)) == {"a": 1, "b": 2}


@pytest.mark.parametrize("change", ["begin", "login", "new id"])
def test_late_change_that_needs_a_cookie_is_refused(manager, caplog, change):
    id = stored(manager, a=1)
    request = begin(manager, None if change == "begin" else id, b=2)
    if change == "login":
        request.session.user = "ada"
    elif change == "new id":
        manager.reserve_id(request.session)
    manager.settle_request(request, headers_sent=True)
    assert "no cookie could be sent any more" in caplog.text
    assert [dict(session) for session in manager] == [{"a": 1}]
    assert manager.load(id).user is None


def test_a_login_before_which_another_one_was_is_not_taken_for_a_late_one(manager, caplog):
    id = stored(manager, a=1)
    tabs = [begin(manager, id) for _ in range(2)]
    for tab, user in zip(tabs, ("anne", "bert"), strict=True):
        tab.session.user = user
        manager.settle_request(tab)
    manager.settle_request(tabs[1], headers_sent=True)
    assert caplog.text == ""
    assert [session.user for session in manager] == ["anne"]


def test_a_late_login_is_told_of_also_if_the_session_was_renewed_meanwhile(manager, caplog):
    id = stored(manager, a=1)
    stream = begin(manager, id)
    manager.settle_request(stream)
    manager.rotate(manager.load(id), 60.0)
    stream.session.user = "ada"
    manager.settle_request(stream, headers_sent=True)
    assert "no cookie could be sent any more" in caplog.text


@pytest.mark.parametrize("id", [None, "known"])
def test_nor_is_it_stored_in_mid_request_when_the_headers_are_out(manager, caplog, id):
    """The browser could not be told: the old id would be dead, and nobody could reach what is stored."""
    id = id and stored(manager, a=1)
    request = begin(manager, id, b=2)
    request.headers_sent = True
    request.session.user = "ada"
    manager.maintain_session(request.session, request)
    manager.settle_request(request)
    assert "no cookie could be sent any more" in caplog.text
    assert request.sent == []
    assert [(session.user, dict(session)) for session in manager] == ([(None, {"a": 1})] if id else [])
    assert id is None or manager.load(id) is not None


@pytest.mark.parametrize("items", [{}, {"b": 1}])
def test_late_end(manager, items):
    emptied, left = stored(manager, a=1), stored(manager, a=1)
    request = begin(manager, emptied)
    request.session.clear()
    manager.settle_request(request, headers_sent=True)
    request = begin(manager, left)
    manager.expire_session(request)
    request.session.update(items)
    manager.settle_request(request, headers_sent=True)
    assert list(manager) == []


def test_late_change_of_a_read_only_request(manager):
    from session2.errors import ReadOnlySession

    id = stored(manager, a=1)
    request = Request(id)
    manager.start_request(request, "read-only")
    manager.settle_request(request, headers_sent=True)
    request.session["a"] = 2
    with pytest.raises(ReadOnlySession):
        manager.settle_request(request, headers_sent=True)
    assert manager.load(id)["a"] == 1


@pytest.mark.parametrize("met", [False, True])
def test_late_change_leaves_the_idle_clock_where_others_moved_it(met):
    """A stream that outlasts the idle timeout changes its session, which others were using meanwhile."""
    now = 1.8e9
    manager = SessionManager(VolatileSessionStore(clock=lambda: now), DictSession, idle_timeout=1800)
    id = stored(manager, a=1)
    stream = begin(manager, id)
    manager.settle_request(stream)
    for minute in range(0, 40, 5):
        now += 300
        manager.finish_successful_request(begin(manager, id, **{"minute": minute} if met else {}))
    stream.session["b"] = 2
    manager.settle_request(stream, headers_sent=True)
    assert manager.load(id)["b"] == 2
    assert manager.load(id).expires == now + 1800


def test_late_change_renews_no_id():
    now = 1.8e9
    manager = SessionManager(VolatileSessionStore(clock=lambda: now), DictSession, renew_after=1000)
    id = stored(manager, a=1)
    stream = begin(manager, id)
    manager.settle_request(stream)
    now += 1001
    stream.session["b"] = 2
    manager.settle_request(stream, headers_sent=True)
    now += 1001
    assert dict(manager.load(id)) == {"a": 1, "b": 2}


def test_lock_takes_in_what_others_stored(manager):
    id = stored(manager, a=1)
    request = begin(manager, id, mine=1)
    manager.finish_successful_request(begin(manager, id, a=2))
    manager.lock_request(request)
    assert dict(request.session) == {"a": 2, "mine": 1}
    assert is_locked(manager.store, request.session.key)
    manager.unlock_request(request)
    assert not is_locked(manager.store, request.session.key)
    manager.lock_request(request)
    assert is_locked(manager.store, request.session.key)


def test_lock_of_what_nobody_changed_is_no_conflict(manager):
    request = begin(manager, stored(manager, a=1), b=2)
    manager.store.observer = lambda event: pytest.fail(event.name)
    manager.lock_request(request)
    assert dict(request.session) == {"a": 1, "b": 2}


def test_lock_of_what_is_not_stored(manager):
    manager.lock_request(Request())
    manager.unlock_request(Request())
    request = begin(manager, a=1)
    manager.lock_request(request)
    assert [key for key, _ in manager.store.scan()] == []


def test_lock_of_the_session_that_began_at_a_logout(manager):
    manager.store._locks = None
    request = begin(manager, stored(manager, a=1))
    manager.lock_request(request)
    manager.expire_session(request)
    request.session["b"] = 2
    manager.maintain_session(request.session, request)
    manager.lock_request(request)
    locks = [key for key, _ in manager.store.scan() if key.startswith("lock-")]
    assert locks == ["lock-" + request.session.key]


@pytest.mark.parametrize("by", [None, "lock"])
@pytest.mark.parametrize("locked", ["at the start", "midway"])
def test_lock_follows_a_renewal(manager, monkeypatch, locked, by):
    """The session gets a new id while this request waits for the lock of the old one."""
    id = stored(manager, a=1)
    manager.store._locks = None
    lock, taken = manager.store.lock, []

    def renewed_first(key, **options):
        if not taken:
            taken.append(key)
            other = Request(id)
            manager.start_request(other, by)
            manager.rotate(other.session, grace=60)
            manager.finish_successful_request(other)
        taken.append(key)
        return lock(key, **options)

    request = Request(id)
    if locked == "midway":
        manager.start_request(request)
        monkeypatch.setattr(manager.store, "lock", renewed_first)
        manager.lock_request(request)
    else:
        monkeypatch.setattr(manager.store, "lock", renewed_first)
        manager.start_request(request, "lock")
    assert request.session.key != taken[0]
    locks = [key for key, _ in manager.store.scan() if key.startswith("lock-")]
    assert locks == ["lock-" + (request.session.key if by else taken[0])], "one lock, under whatever id"
    with pytest.raises(LockTimeout):
        manager.store.sessions.lock(request.session, timeout=0, lease=60)
    request.session["b"] = 2
    manager.finish_successful_request(request)
    assert dict(manager.load(request.sent[-1])) == {"a": 1, "b": 2}
    assert len(list(manager)) == 1


def test_lock_that_fails_is_not_kept(manager, monkeypatch):
    manager.store._locks = None
    request = begin(manager, stored(manager, a=1))
    monkeypatch.setattr(manager.sessions, "merge_in", lambda session: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        manager.lock_request(request)
    assert not [key for key, _ in manager.store.scan() if key.startswith("lock-")]


def test_reserved_id(manager):
    old = stored(manager, a=1)
    request = begin(manager, old)
    id = manager.reserve_id(request.session)
    manager.finish_successful_request(request)
    assert request.sent == [id]
    assert tokens.is_id(id)
    assert manager.load(old) is None
    assert dict(manager.load(id)) == {"a": 1}


@pytest.mark.parametrize("locks", [False, True])
def test_reserved_id_is_kept_where_others_changed_the_session(manager, locks):
    old = stored(manager, a=1)
    request = begin(manager, old)
    id = manager.reserve_id(request.session)
    manager.finish_successful_request(begin(manager, old, b=2))
    if locks:  # and takes in what they changed
        manager.lock_request(request)
    manager.finish_successful_request(request)
    assert request.sent == [id]
    assert dict(manager.load(id)) == {"a": 1, "b": 2}


def test_reserved_id_of_a_session_that_others_emptied_is_not_sent(manager):
    old = stored(manager, a=1)
    request, other = begin(manager, old), begin(manager, old)
    manager.reserve_id(request.session)
    other.session.clear()
    manager.finish_successful_request(other)
    manager.finish_successful_request(request)
    assert request.sent == []
    assert list(manager) == []


def test_reserved_id_of_a_request_that_fails(manager):
    old = stored(manager, a=1)
    request = begin(manager, old)
    manager.reserve_id(request.session)
    manager.finish_failed_request(request)
    assert dict(manager.load(old)) == {"a": 1}
