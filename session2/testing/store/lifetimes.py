"""How long a session lives while requests come and go, and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ... import tokens
from ...store.base import SessionStore
from ..fakes import Clock
from .claims import Sized
from .samples import contents, records
from .visitor import Visitor, logged_in, manage


class LifetimeTests(Sized):
    """The idle clock, the absolute clock, and what reading costs."""

    def test_idle_clock(self, store: SessionStore, clock: Clock) -> None:
        visitor = logged_in(manage(store), n=1)
        for _ in range(5):
            clock.advance(99)
            assert visitor.look() == {"n": 1}
        clock.advance(100)
        key = visitor.key
        assert visitor.look() == {}
        assert contents(store, key) == {}

    def test_absolute_clock(self, store: SessionStore, clock: Clock) -> None:
        visitor = logged_in(manage(store), n=1)
        for _ in range(19):
            clock.advance(50)
            assert visitor.look() == {"n": 1}
        clock.advance(49)
        with visitor.visit() as session:
            session["n"] = 2
        clock.advance(1)
        key = visitor.key
        assert visitor.look() == {}
        assert contents(store, key) == {}

    def test_no_clock(self, store: SessionStore, clock: Clock) -> None:
        visitor = logged_in(manage(store, idle_timeout=None, lifetime=None), n=1)
        clock.advance(1e9)
        assert visitor.look() == {"n": 1}

    def test_login_does_not_restart_the_absolute_clock(self, store: SessionStore, clock: Clock) -> None:
        visitor = logged_in(manage(store, idle_timeout=None), n=1)
        clock.advance(600)
        with visitor.visit() as session:
            session.set_user("bert")
        clock.advance(400)
        assert visitor.look() == {}

    def test_reading_writes_next_to_nothing(self, store: SessionStore, clock: Clock,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
        """At most one touch in a touch interval, and never a write."""
        visitor = logged_in(manage(store), n=1, text="a")
        calls = self.count(store, monkeypatch)
        for _ in range(self.times(1000)):
            assert visitor.look() == {"n": 1, "text": "a"}
        assert calls == []
        clock.advance(9)
        visitor.look()
        assert calls == []
        clock.advance(1)
        for _ in range(100):
            visitor.look()
        assert calls == ["touch"]

    def test_nothing_to_keep_stores_nothing(self, store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
        visitor = Visitor(manage(store))
        calls = self.count(store, monkeypatch)
        assert visitor.look() == {}
        assert (visitor.cookie, calls, contents(store)) == (None, [], {})

    def test_unknown_cookie_is_not_adopted(self, store: SessionStore) -> None:
        planted = tokens.new_id()
        visitor = Visitor(manage(store), planted)
        with visitor.visit() as session:
            session["n"] = 1
        assert visitor.cookie not in (None, planted)
        assert not store.has_session(planted)

    def test_emptied_session_is_removed(self, store: SessionStore) -> None:
        visitor = Visitor(manage(store))
        with visitor.visit() as session:
            session["n"] = 1
        key = visitor.key
        with visitor.visit() as session:
            del session["n"]
        assert visitor.cookie is None
        assert contents(store, key) == {}

    def test_failed_request_changes_nothing(self, store: SessionStore) -> None:
        visitor = logged_in(manage(store), n=1)
        before = records(store, visitor.key)
        with pytest.raises(ZeroDivisionError), visitor.visit() as session:
            session["n"] = 2 // 0 if session.pop("n") else 3
        assert records(store, visitor.key) == before

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
