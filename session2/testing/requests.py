"""`SessionManager` over the store: clocks, ids, locks and logins, one request after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .. import tokens
from ..concurrency import Concurrency
from ..errors import LockLost, LockTimeout, ReadOnlySession, SessionConflict
from ..manager import SessionManager
from ..store.base import SessionStore
from .exchange import FakeExchange
from .kit import Clock, Sized, contents
from .sessions import Shop

Manager = SessionManager[Shop]


class Visit(FakeExchange):
    """One request of a browser."""

    session: Any

    @property
    def cookie_sent(self) -> str | None:
        """The value of the cookie it was answered with, "" where it was told to forget it."""
        return self.sent["session2"][0] if self.sent else None


class Browser:
    """Keeps the session cookie from one request to the next."""

    def __init__(self, manager: Manager, cookie: str | None = None) -> None:
        self.manager = manager
        self.cookie = cookie

    def begin(self, concurrency: Concurrency | None = None) -> Visit:
        visit = Visit({"session2": self.cookie} if self.cookie else None)
        self.manager.start_request(visit, concurrency)
        return visit

    def end(self, visit: Visit) -> None:
        self.manager.finish_successful_request(visit)
        if visit.sent:
            self.cookie = visit.cookies.get("session2")

    @contextmanager
    def visit(self, concurrency: Concurrency | None = None) -> Iterator[Shop]:
        """Make one request; an exception is a failed one."""
        visit = self.begin(concurrency)
        try:
            yield visit.session
        except BaseException:
            self.manager.finish_failed_request(visit)
            raise
        self.end(visit)

    def look(self) -> dict[str, Any]:
        """Return what the session holds now."""
        with self.visit() as session:
            return dict(session.data)


def manage(store: SessionStore, **options: Any) -> Manager:
    """Return a manager with clocks that are easy to reckon with."""
    return SessionManager(store, Shop, **{"idle_timeout": 100, "lifetime": 1000, "touch_interval": 10, **options})


def logged_in(manager: Manager, user: str = "anna", **items: Any) -> Browser:
    """Return a browser whose session belongs to a user and holds the items."""
    browser = Browser(manager)
    with browser.visit() as session:
        session.set_user(user)
        session.data.update(items)
    assert browser.cookie is not None
    return browser


def locks(store: SessionStore) -> list[str]:
    """Return the lock records that are there."""
    return [key for key in contents(store) if key.startswith("lock-")]


class ClockTests(Sized):
    """The idle clock, the absolute clock, and what reading costs."""

    def test_idle_clock(self, store: SessionStore, clock: Clock) -> None:
        browser = logged_in(manage(store), n=1)
        for _ in range(5):
            clock.advance(99)
            assert browser.look() == {"n": 1}
        clock.advance(100)
        assert browser.look() == {}
        assert contents(store) == {}

    def test_absolute_clock(self, store: SessionStore, clock: Clock) -> None:
        browser = logged_in(manage(store), n=1)
        for _ in range(19):
            clock.advance(50)
            assert browser.look() == {"n": 1}
        clock.advance(49)
        with browser.visit() as session:
            session["n"] = 2
        clock.advance(1)
        assert browser.look() == {}
        assert contents(store) == {}

    def test_no_clock(self, store: SessionStore, clock: Clock) -> None:
        browser = logged_in(manage(store, idle_timeout=None, lifetime=None), n=1)
        clock.advance(1e9)
        assert browser.look() == {"n": 1}

    def test_login_does_not_restart_the_absolute_clock(self, store: SessionStore, clock: Clock) -> None:
        browser = logged_in(manage(store, idle_timeout=None), n=1)
        clock.advance(600)
        with browser.visit() as session:
            session.set_user("bert")
        clock.advance(400)
        assert browser.look() == {}

    def test_reading_writes_next_to_nothing(self, store: SessionStore, clock: Clock,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
        """At most one touch in a touch interval, and never a write."""
        browser = logged_in(manage(store), n=1, text="a")
        calls = self.count(store, monkeypatch)
        for _ in range(self.times(1000)):
            assert browser.look() == {"n": 1, "text": "a"}
        assert calls == []
        clock.advance(9)
        browser.look()
        assert calls == []
        clock.advance(1)
        for _ in range(100):
            browser.look()
        assert calls == ["touch"]

    def test_nothing_to_keep_stores_nothing(self, store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        browser = Browser(manage(store))
        calls = self.count(store, monkeypatch)
        assert browser.look() == {}
        assert (browser.cookie, calls, contents(store)) == (None, [], {})

    def test_unknown_cookie_is_not_adopted(self, store: SessionStore) -> None:
        planted = tokens.new_id()
        browser = Browser(manage(store), planted)
        with browser.visit() as session:
            session["n"] = 1
        assert browser.cookie not in (None, planted)
        assert not store.has_session(planted)

    def test_emptied_session_is_removed(self, store: SessionStore) -> None:
        browser = Browser(manage(store))
        with browser.visit() as session:
            session["n"] = 1
        with browser.visit() as session:
            del session["n"]
        assert browser.cookie is None
        assert contents(store) == {}

    def test_failed_request_changes_nothing(self, store: SessionStore) -> None:
        browser = logged_in(manage(store), n=1)
        before = dict(store.scan())
        with pytest.raises(ZeroDivisionError), browser.visit() as session:
            session["n"] = 2 // 0 if session.pop("n") else 3
        assert dict(store.scan()) == before

    def count(self, store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Return a list to which every changing call to the store adds its name."""
        calls: list[str] = []

        def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
            def count_and_call(*args: Any, **options: Any) -> Any:
                calls.append(name)
                return call(*args, **options)
            return count_and_call

        for name in ("write", "touch", "remove"):
            monkeypatch.setattr(store, name, counted(name, getattr(store, name)))
        return calls


class LoginTests:
    """Ids change, sessions end, and what is over stays over."""

    def test_login_changes_the_id(self, store: SessionStore) -> None:
        browser = Browser(manage(store))
        with browser.visit() as session:
            session["n"] = 1
        old = browser.cookie
        with browser.visit() as session:
            session.set_user("anna")
        assert browser.cookie not in (None, old)
        assert browser.manager.load(old) is None
        assert browser.look() == {"n": 1}
        assert Browser(browser.manager, old).look() == {}

    def test_change_of_user_changes_the_id(self, store: SessionStore) -> None:
        browser = logged_in(manage(store), "anna", n=1)
        for user in ("bert", None):
            old = browser.cookie
            with browser.visit() as session:
                session.set_user(user)
            assert browser.cookie not in (None, old)
            assert browser.manager.load(old) is None
        assert browser.look() == {"n": 1}

    def test_renewal_leaves_the_old_id_a_grace(self, store: SessionStore, clock: Clock) -> None:
        browser = logged_in(manage(store, idle_timeout=None, renew_after=50, renew_grace=20), n=1)
        late, old = browser.begin(), browser.cookie
        clock.advance(50)
        browser.look()
        assert browser.cookie != old
        late.session["late"] = 1
        browser.manager.finish_successful_request(late)
        assert late.cookie_sent == browser.cookie
        assert browser.look() == {"n": 1, "late": 1}
        clock.advance(20)
        assert browser.manager.load(old) is None

    def test_logout_during_a_slow_request(self, store: SessionStore) -> None:
        browser = logged_in(manage(store), n=1)
        slow = browser.begin()
        quick = browser.begin()
        browser.manager.expire_session(quick)
        browser.end(quick)
        assert browser.cookie is None
        slow.session["n"] = 2
        browser.manager.finish_successful_request(slow)
        assert slow.cookie_sent == ""
        assert contents(store) == {}

    def test_login_during_a_slow_request(self, store: SessionStore) -> None:
        """The slow request may not log out the new session by taking its cookie away."""
        browser = logged_in(manage(store), n=1)
        slow = browser.begin()
        with browser.visit() as session:
            session.set_user("bert")
        slow.session["n"] = 2
        browser.manager.finish_successful_request(slow)
        assert slow.cookie_sent is None
        assert browser.look() == {"n": 1}

    def test_revoke_user(self, store: SessionStore) -> None:
        manager = manage(store)
        first, second, other = (logged_in(manager, user, n=number)
                                for number, user in enumerate(["anna", "anna", "bert"]))
        assert sorted(session["n"] for session in manager.sessions_of("anna")) == [0, 1]
        assert manager.revoke_user("anna", except_=manager.load(first.cookie)) == 1
        assert [browser.look() for browser in (first, second, other)] == [{"n": 0}, {}, {"n": 2}]
        assert manager.revoke_user("anna") == 1
        assert manager.revoke_user("anna") == 0
        assert [browser.look() for browser in (first, second, other)] == [{}, {}, {"n": 2}]
        assert list(manager.sessions_of(None)) == []

    def test_sessions_of_follows_login_and_logout(self, store: SessionStore, clock: Clock) -> None:
        manager = manage(store)
        browser = logged_in(manager, "anna")
        assert len(list(manager.sessions_of("anna"))) == 1
        with browser.visit() as session:
            session.set_user("bert")
        assert list(manager.sessions_of("anna")) == []
        assert len(list(manager.sessions_of("bert"))) == 1
        clock.advance(100)
        assert list(manager.sessions_of("bert")) == []

    def test_mapping_view(self, store: SessionStore) -> None:
        manager = manage(store)
        browser = logged_in(manager, n=1)
        [(key, session)] = manager.items()
        assert session.data == {"n": 1}
        assert (manager.keys(), key in manager, browser.cookie in manager) == ([key], True, True)
        assert "0" * 64 not in manager
        del manager[key]
        assert browser.cookie not in manager


class ConcurrencyTests:
    """Requests of one session that overlap."""

    def overlap(self, store: SessionStore, concurrency: Concurrency | None, **options: Any) -> tuple[Browser, Visit]:
        """Return a browser, and a request of its that is under way."""
        browser = logged_in(manage(store, **options), n=0)
        return browser, browser.begin(concurrency)

    def test_merge(self, store: SessionStore) -> None:
        browser, slow = self.overlap(store, "merge")
        with browser.visit() as session:
            session["quick"] = session["visits"] = 1
        slow.session["slow"] = slow.session["visits"] = 1
        browser.end(slow)
        assert browser.look() == {"n": 0, "slow": 1, "quick": 1, "visits": 2}

    def test_strict(self, store: SessionStore) -> None:
        browser, slow = self.overlap(store, "strict")
        with browser.visit("strict") as session:
            session["n"] = 1
        slow.session["n"] = 2
        with pytest.raises(SessionConflict):
            browser.end(slow)
        assert browser.look() == {"n": 1}

    def test_read_only(self, store: SessionStore, clock: Clock) -> None:
        browser, reading = self.overlap(store, "read-only")
        before = dict(store.scan())
        clock.advance(50)
        browser.end(reading)
        with pytest.raises(ReadOnlySession), browser.visit("read-only") as session:
            session["n"] = 2
        assert dict(store.scan()) == before

    def test_lock_is_released(self, store: SessionStore) -> None:
        browser, holding = self.overlap(store, "lock")
        assert len(locks(store)) == 1
        holding.session["n"] = 1
        browser.end(holding)
        assert locks(store) == []
        with pytest.raises(ZeroDivisionError), browser.visit("lock"):
            raise ZeroDivisionError
        assert locks(store) == []
        browser.manager.expire_session(last := browser.begin("lock"))
        browser.end(last)
        assert contents(store) == {}

    def test_lock_timeout(self, store: SessionStore) -> None:
        browser, holding = self.overlap(store, "lock", lock_timeout=0)
        with pytest.raises(LockTimeout):
            browser.begin("lock")
        assert browser.look() == {"n": 0}  # who asks for no lock does not wait for one
        holding.session["n"] = 1
        browser.end(holding)
        with browser.visit("lock") as session:
            assert session["n"] == 1

    @pytest.mark.parametrize("first", ["new holder", "stale holder"])
    def test_lapsed_lock_is_taken_over(self, store: SessionStore, clock: Clock, first: str) -> None:
        """Whoever saves first, only the new holder's data stands."""
        browser, stale = self.overlap(store, "lock", lock_timeout=0, lock_lease=60, idle_timeout=None)
        clock.advance(59)
        with pytest.raises(LockTimeout):
            browser.begin("lock")
        clock.advance(1)
        holder = browser.begin("lock")
        holder.session["n"] = "new holder"
        stale.session["n"] = "stale holder"
        if first == "new holder":
            browser.end(holder)
        with pytest.raises(LockLost):
            browser.end(stale)
        if first == "stale holder":
            with pytest.raises(LockTimeout):  # the stale holder's release is not the new holder's
                browser.begin("lock")
            browser.end(holder)
        assert browser.look() == {"n": "new holder"}
        assert locks(store) == []

    def test_lease_can_be_renewed(self, store: SessionStore, clock: Clock) -> None:
        lease = store.lock("00" * 32, timeout=0, lease=60)
        clock.advance(50)
        lease.renew()
        clock.advance(50)
        assert lease.is_held()
        with pytest.raises(LockTimeout):
            store.lock("00" * 32, timeout=0)
        clock.advance(10)
        taken = store.lock("00" * 32, timeout=0)
        assert not lease.is_held()
        with pytest.raises(LockLost):
            lease.renew()
        lease.release()
        assert taken.is_held()
        taken.release()
        taken.release()
        assert not taken.is_held()
        assert contents(store) == {}

    def test_locks_of_two_sessions_are_two_locks(self, store: SessionStore) -> None:
        with store.lock("00" * 32, timeout=0), store.lock("11" * 32, timeout=0):
            assert len(locks(store)) == 2


class RequestTests(ClockTests, LoginTests, ConcurrencyTests):
    """All of them."""
