"""Logging in and out, over the store."""

from __future__ import annotations

from ...store.base import SessionStore
from ..fakes import Clock
from .claims import needs_listing, needs_merging
from .samples import contents
from .visitor import Visitor, logged_in, manage


class LoginTests:
    """Ids change, sessions end, and what is over stays over."""

    def test_login_changes_the_id(self, store: SessionStore) -> None:
        visitor = Visitor(manage(store))
        with visitor.visit() as session:
            session["n"] = 1
        old = visitor.cookie
        with visitor.visit() as session:
            session.set_user("anna")
        assert visitor.cookie not in (None, old)
        assert visitor.manager.load(old) is None
        assert visitor.look() == {"n": 1}
        assert Visitor(visitor.manager, old).look() == {}

    def test_change_of_user_changes_the_id(self, store: SessionStore) -> None:
        visitor = logged_in(manage(store), "anna", n=1)
        for user in ("bert", None):
            old = visitor.cookie
            with visitor.visit() as session:
                session.set_user(user)
            assert visitor.cookie not in (None, old)
            assert visitor.manager.load(old) is None
        assert visitor.look() == {"n": 1}

    @needs_merging
    def test_renewal_leaves_the_old_id_a_grace(self, store: SessionStore, clock: Clock) -> None:
        visitor = logged_in(manage(store, idle_timeout=None, renew_after=50, renew_grace=20), n=1)
        late, old = visitor.begin(), visitor.cookie
        clock.advance(50)
        visitor.look()
        assert visitor.cookie != old
        late.session["late"] = 1
        visitor.manager.finish_successful_request(late)
        assert late.cookie_sent == visitor.cookie
        assert visitor.look() == {"n": 1, "late": 1}
        clock.advance(20)
        assert visitor.manager.load(old) is None

    def test_logout_during_a_slow_request(self, store: SessionStore) -> None:
        visitor = logged_in(manage(store), n=1)
        key, slow = visitor.key, visitor.begin()
        quick = visitor.begin()
        visitor.manager.expire_session(quick)
        visitor.end(quick)
        assert visitor.cookie is None
        slow.session["n"] = 2
        visitor.manager.finish_successful_request(slow)
        assert slow.cookie_sent is None
        assert contents(store, key) == {}

    def test_login_during_a_slow_request(self, store: SessionStore) -> None:
        """The slow request may not log out the new session by taking its cookie away."""
        visitor = logged_in(manage(store), n=1)
        slow = visitor.begin()
        with visitor.visit() as session:
            session.set_user("bert")
        slow.session["n"] = 2
        visitor.manager.finish_successful_request(slow)
        assert slow.cookie_sent is None
        assert visitor.look() == {"n": 1}

    @needs_listing
    def test_revoke_user(self, store: SessionStore) -> None:
        manager = manage(store)
        first, second, other = (logged_in(manager, user, n=number)
                                for number, user in enumerate(["anna", "anna", "bert"]))
        assert sorted(session["n"] for session in manager.sessions_of("anna")) == [0, 1]
        assert manager.revoke_user("anna", except_=manager.load(first.cookie)) == 1
        assert [visitor.look() for visitor in (first, second, other)] == [{"n": 0}, {}, {"n": 2}]
        assert manager.revoke_user("anna") == 1
        assert manager.revoke_user("anna") == 0
        assert [visitor.look() for visitor in (first, second, other)] == [{}, {}, {"n": 2}]
        assert list(manager.sessions_of(None)) == []

    @needs_listing
    def test_sessions_of_follows_login_and_logout(self, store: SessionStore, clock: Clock) -> None:
        manager = manage(store)
        visitor = logged_in(manager, "anna")
        assert len(list(manager.sessions_of("anna"))) == 1
        with visitor.visit() as session:
            session.set_user("bert")
        assert list(manager.sessions_of("anna")) == []
        assert len(list(manager.sessions_of("bert"))) == 1
        clock.advance(100)
        assert list(manager.sessions_of("bert")) == []

    @needs_listing
    def test_mapping_view(self, store: SessionStore) -> None:
        manager = manage(store)
        visitor = logged_in(manager, n=1)
        [(key, session)] = manager.items()
        assert session.data == {"n": 1}
        assert (manager.keys(), key in manager, visitor.cookie in manager) == ([key], True, True)
        assert "0" * 64 not in manager
        del manager[key]
        assert visitor.cookie not in manager
