"""Live sessions, in requests and outside of them; the suite of the stores has their races."""

from __future__ import annotations

from typing import Any

import pytest

from session2 import ConfigurationError, DictSession, SessionManager, get_secret
from session2.errors import ReadOnlySession, SessionConflict, SessionEnded
from session2.live import LiveDictSession, LiveSession
from session2.session import ties
from session2.store.cookie import CookieSessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange

Manager = SessionManager[DictSession]


@pytest.fixture
def manager() -> Manager:
    return SessionManager(VolatileSessionStore(), DictSession)


def stored(manager: Manager, **items: Any) -> str:
    session = manager.new_session()
    session.update(items)
    manager.save(session)
    assert session.id is not None
    return session.id


def test_every_access_asks_the_store(manager: Manager) -> None:
    id = stored(manager, a=1)
    one, other = LiveSession(manager, id), LiveSession(manager, id)
    one["b"] = 2
    assert (dict(other), len(other), "b" in other, list(other)) == ({"a": 1, "b": 2}, 2, True, ["a", "b"])
    del other["a"]
    assert (one.get("a"), list(one.keys()), list(one.values())) == (None, ["b"], [2])


def test_every_change_is_one_step(manager: Manager) -> None:
    live = LiveSession(manager, stored(manager))
    assert [live.increment("n"), live.increment("n", 4), live.setdefault("n", 9)] == [1, 5, 5]
    assert live.setdefault("m") is None
    live.update({"x": 1}, y=2)
    assert (live.pop("x"), live.pop("x", 7), live.popitem()) == (1, 7, ("y", 2))
    with pytest.raises(KeyError):
        live.pop("x")
    live.apply(lambda items: items.setdefault("basket", []).append("apple"))
    assert live["basket"] == ["apple"]
    live.clear()
    assert dict(live) == {}


def test_a_change_that_was_overtaken_is_made_anew(manager: Manager) -> None:
    id = stored(manager, n=1)
    seen = []

    def change(items: dict[str, Any]) -> None:
        seen.append(items["n"])
        if len(seen) == 1:
            LiveSession(manager, id)["n"] = 5
        items["n"] += 1

    LiveSession(manager, id).apply(change)
    assert (seen, LiveSession(manager, id)["n"]) == ([1, 5], 6)


def test_a_change_that_raises_changes_nothing(manager: Manager) -> None:
    live = LiveSession(manager, stored(manager, n=1))
    with pytest.raises(ZeroDivisionError):
        live.apply(lambda items: (items.clear(), 1 / 0))
    assert dict(live) == {"n": 1}


def test_what_was_returned_is_a_copy(manager: Manager) -> None:
    live = LiveSession(manager, stored(manager, basket=[]))
    live["basket"].append("apple")
    assert live["basket"] == []


def test_it_follows_a_renewed_session(manager: Manager) -> None:
    id = stored(manager, n=1)
    live = LiveSession(manager, id)
    manager.rotate(manager.load(id), grace=30)  # type: ignore[arg-type]
    live["n"] = 2
    manager.store.clock = lambda: VolatileSessionStore().clock() + 60.0
    assert live["n"] == 2


def test_outside_of_requests_an_end_is_an_error(manager: Manager) -> None:
    id = stored(manager, n=1)
    live = LiveSession(manager, id)
    manager.delete(id)
    assert not live.is_live
    for use in (lambda: live["n"], lambda: live.increment("n"), lambda: len(live)):
        with pytest.raises(SessionEnded):
            use()
    assert manager.load(id) is None


def test_an_id_of_nobody(manager: Manager) -> None:
    with pytest.raises(SessionEnded):
        LiveSession(manager, "A" * 43)["n"] = 1
    assert list(manager.store.scan()) == []


@pytest.mark.parametrize("id", ["../etc/passwd", "", None, 5])
def test_what_is_no_id_at_all(manager: Manager, id: Any) -> None:
    with pytest.raises(ConfigurationError, match="an id"):
        LiveSession(manager, id)


def test_a_session_of_no_request(manager: Manager) -> None:
    session = manager.new_session()
    live = LiveSession(manager, session)
    live["n"] = 1
    assert live.is_live
    assert dict(manager.load(session.id)) == {"n": 1}
    assert (list(live.items()), list(live.keys()), list(live.values())) == ([("n", 1)], ["n"], [1])
    manager.delete(session)
    with pytest.raises(SessionEnded):
        live["n"]


def test_who_is_overtaken_again_and_again_gives_up(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveSession(manager, stored(manager, n=1))

    def overtaken(*args: Any) -> None:
        raise SessionConflict("somebody else was first")

    monkeypatch.setattr("session2.live.MERGE_PATIENCE", 0.0)
    monkeypatch.setattr(manager, "save", overtaken)
    with pytest.raises(SessionConflict, match="kept changing"):
        live["n"] = 2


def begun(manager: Manager, cookies: dict[str, str] | None = None, concurrency: Any = None) -> Any:
    request = FakeExchange(cookies)
    manager.start_request(request, concurrency)
    return request


def test_in_a_request_the_first_change_stores_the_session_and_sends_its_cookie(manager: Manager) -> None:
    request = begun(manager)
    live = LiveSession(manager, request.session)
    assert dict(live) == {}
    assert not live.is_live
    live["a"] = 1
    assert LiveSession(manager, request.session.id)["a"] == 1
    live["b"] = 2
    manager.finish_successful_request(request)
    assert dict(LiveSession(manager, request.cookies["session2"])) == {"a": 1, "b": 2}


def test_in_a_request_it_goes_with_what_the_session_itself_was_given(manager: Manager) -> None:
    id = stored(manager, a=1)
    request = begun(manager, {"session2": id})
    LiveSession(manager, request.session)["live"] = 2
    request.session["own"] = 3
    request.session.set_user("anne")
    manager.finish_successful_request(request)
    found = manager.load(request.cookies["session2"])
    assert found is not None
    assert (dict(found), found.user) == ({"a": 1, "live": 2, "own": 3}, "anne")
    assert manager.load(id) is None


def test_in_a_request_whose_session_ended_it_is_empty_and_changes_are_not_stored(manager: Manager) -> None:
    id = stored(manager, a=1)
    request = begun(manager, {"session2": id})
    live = LiveSession(manager, request.session)
    manager.delete(id)
    live["a"] = 2
    assert (dict(live), live.is_live) == ({}, False)
    manager.finish_successful_request(request)
    assert manager.load(id) is None


def test_it_writes_nothing_where_nothing_changed(manager: Manager) -> None:
    id = stored(manager, a=1)
    before = ties(manager.load(id)).origin.record  # type: ignore[arg-type,union-attr]
    LiveSession(manager, id)["a"] = 1
    assert manager.store.read(before.version and manager.store.sessions.key(id)) == before


def test_a_change_that_raises_changes_nothing_of_a_session_that_is_not_stored_yet(manager: Manager) -> None:
    request = begun(manager)
    with pytest.raises(ZeroDivisionError):
        LiveSession(manager, request.session).apply(lambda items: (items.update(a=1), 1 / 0))
    manager.finish_successful_request(request)
    assert (dict(request.session), request.cookies) == ({}, {})


def test_after_the_request_nothing_begins(manager: Manager) -> None:
    """Nobody would have its cookie."""
    request = begun(manager)
    live = LiveSession(manager, request.session)
    manager.finish_successful_request(request)
    with pytest.raises(SessionEnded):
        live.increment("n")
    assert (dict(live), list(manager.store.scan())) == ({}, [])


def test_a_request_that_may_only_read_changes_nothing(manager: Manager) -> None:
    id = stored(manager, a=1)
    request = FakeExchange({"session2": id})
    manager.start_request(request, "read-only")
    live = LiveSession(manager, request.session)
    with pytest.raises(ReadOnlySession):
        live["a"] = 2
    assert live["a"] == 1


def test_a_strict_request_is_not_in_its_own_way(manager: Manager) -> None:
    id = stored(manager, n=0)
    request = begun(manager, {"session2": id}, "strict")
    live = LiveSession(manager, request.session)
    for number in (1, 2):
        live.increment("n")
        request.session[f"own{number}"] = number
    manager.finish_successful_request(request)
    assert dict(manager.load(id) or {}) == {"n": 2, "own1": 1, "own2": 2}


def test_a_strict_request_is_refused_when_somebody_else_was_first(manager: Manager) -> None:
    id = stored(manager, n=0)
    for is_before in (True, False):
        request = begun(manager, {"session2": id}, "strict")
        live = LiveSession(manager, request.session)
        for step in [LiveSession(manager, id), live][::1 if is_before else -1]:
            step.increment("n")
        request.session["own"] = 1
        with pytest.raises(SessionConflict):
            manager.finish_successful_request(request)
    assert dict(manager.load(id) or {}) == {"n": 4}


def test_a_session_that_another_request_emptied_goes_on_with_the_next_change(manager: Manager) -> None:
    id = stored(manager, a=1)
    request, other = begun(manager, {"session2": id}), begun(manager, {"session2": id})
    live = LiveSession(manager, request.session)
    other.session.clear()
    manager.finish_successful_request(other)
    assert (dict(live), live.is_live) == ({}, False)
    live["b"] = 2
    assert (dict(live), live.is_live) == ({"b": 2}, True)
    manager.finish_successful_request(request)
    assert request.cookie_sent
    assert dict(manager.load(request.cookie_sent) or {}) == {"b": 2}


def test_a_session_in_a_cookie_is_live_in_its_request() -> None:
    manager = SessionManager(CookieSessionStore(get_secret()), DictSession)
    browser: dict[str, str] = {}
    for number in (1, 3):
        request = begun(manager, browser)
        live = LiveSession(manager, request.session)
        assert [live.increment("n"), live.increment("n"), live.is_live] == [number, number + 1, True]
        manager.finish_successful_request(request)
    assert dict(begun(manager, browser).session) == {"n": 4}


def test_sessions_that_are_no_mappings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="session_class"):
        LiveSession(SessionManager(VolatileSessionStore()), "A" * 43)


# -- a session class that is live in requests --------------------------------------------------------------------------


@pytest.fixture
def live() -> SessionManager[LiveDictSession]:
    return SessionManager(VolatileSessionStore(), LiveDictSession)


def test_two_requests_see_each_other(live: Any) -> None:
    id = stored(live, n=0)
    one, other = begun(live, {"session2": id}).session, begun(live, {"session2": id}).session
    one["a"] = 1
    assert (dict(other), len(other), "a" in other) == ({"n": 0, "a": 1}, 2, True)
    other.update(b=2)
    assert (one.pop("b"), one.pop("b", 7), one.setdefault("c", 3), one.live.increment("n")) == (2, 7, 3, 1)
    del other["a"]
    assert dict(one) == dict(other) == {"n": 1, "c": 3}
    one.clear()
    assert dict(other) == {}


def test_what_requests_stored_live_stays_when_they_end(live: Any) -> None:
    id = stored(live, n=0)
    requests = [begun(live, {"session2": id}) for _ in range(3)]
    for number, request in enumerate(requests):
        request.session[str(number)] = number
        request.session.live.increment("n")
    for request in requests:
        live.finish_successful_request(request)
    assert dict(live.load(id)) == {"n": 3, "0": 0, "1": 1, "2": 2}
    requests[0].session["late"] = 1
    assert "late" not in live.load(id)
    with pytest.raises(ConfigurationError, match="LiveSession"):
        requests[0].session.live.increment("n")


def test_a_new_live_session_is_stored_at_its_first_item(live: Any) -> None:
    request = begun(live)
    request.session["a"] = 1
    assert dict(begun(live, request.cookies).session) == {"a": 1}
    live.finish_successful_request(request)
    assert request.cookies


def test_outside_of_requests_it_is_like_any_other(live: Any) -> None:
    session = live.load(stored(live, n=0))
    session["a"] = 1
    assert dict(session) == {"n": 0, "a": 1}
    assert "a" not in live.load(session.id)
    with pytest.raises(ConfigurationError, match="LiveSession"):
        session.live.increment("n")


def test_a_new_session_whose_request_nobody_has_any_more_is_not_stored(live: Any) -> None:
    session = begun(live).session
    with pytest.raises(SessionEnded, match="request is over"):
        session["a"] = 1
    assert len(list(live.store.scan())) == 0
