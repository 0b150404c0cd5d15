"""What an attacker must not get, and the known mistakes of other session systems, over any store."""

from __future__ import annotations

import base64
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from ... import tokens
from ...errors import SerializationError
from ...events import Event
from ...manager import SessionManager
from ...serializers import Encrypted, JSONSerializer, PickleSerializer, Serializer, Signed, get_secret
from ...session import DictSession, ties
from ...store.base import SessionStore
from ..fakes import Clock
from .claims import needs_listing, needs_merging
from .hostile import damage
from .recipe import Recipe
from .samples import contents
from .shop import alive, saved
from .visitor import Visitor, logged_in, manage

SECRET = get_secret()

SEALED: dict[str, Callable[[], Serializer]] = {
    "signed": lambda: Signed(PickleSerializer(), SECRET),
    "encrypted": lambda: Encrypted(PickleSerializer(), SECRET),
}


class Canary:
    """Tells on whoever unpickles it."""

    sang = False

    def __reduce__(self) -> Any:
        return setattr, (Canary, "sang", True)


class SecurityTests:
    """Each known vulnerability of a peer is a test that names it."""

    @pytest.fixture(params=SEALED)
    def sealed(self, request: pytest.FixtureRequest, recipe: Recipe, clock: Clock) -> Any:
        """A store whose records are signed or encrypted."""
        store = recipe.make(clock=clock, serializer=SEALED[request.param]())
        store.setup()
        yield store
        store.close()

    def test_planted_pickle_is_not_executed(self, sealed: SessionStore) -> None:
        """CVE-2013-7489 (Beaker): who could write to the store could run code."""
        Canary.sang = False
        planted = pickle.dumps({"data": Canary()}, 5)
        for by in (None, PickleSerializer(), Signed(PickleSerializer(), get_secret())):
            session = saved(sealed, n=1)
            damage(sealed, session, planted if by is None else by.seal(planted, str(session.key)))
            assert sealed.sessions.load(str(session.id), DictSession) is None
            assert not [found for found in alive(sealed, session.id) if found.key == session.key]
        assert not Canary.sang
        PickleSerializer().loads(planted)
        assert Canary.sang, "this canary cannot sing, so its silence meant nothing"

    def test_unpickling_needs_a_record_of_the_store(self, store: SessionStore) -> None:
        """CVE-2016-3957 (web2py): what a client sent was unpickled."""
        Canary.sang = False
        manager = manage(store)
        planted = pickle.dumps({"data": Canary()}, 0).decode("ascii")
        for cookie in (planted, "s2 pickle\n" + planted, base64.urlsafe_b64encode(planted.encode()).decode("ascii")):
            visitor = Visitor(manager)
            visitor.cookie = cookie
            assert visitor.look() == {}
        assert not Canary.sang

    def test_failed_decryption_falls_back_to_nothing(self, recipe: Recipe, clock: Clock) -> None:
        """CVE-2026-39324 (Rack::Session): what could not be decrypted was read unencrypted."""
        plain, signed, encrypted = (recipe.make(clock=clock, serializer=serializer) for serializer in (
            JSONSerializer(), Signed(JSONSerializer(), SECRET), Encrypted(JSONSerializer(), SECRET)))
        plain.setup()
        for writer in (plain, signed, encrypted):
            session = saved(writer, n=1)
            for reader in (plain, signed, encrypted):
                # Each has its own memory of a session, so a reader of its own for stores in memory too.
                found = writer.sessions.locate(str(session.id))
                if reader is writer:
                    assert reader.sessions.codec.restore(found, DictSession).data == {"n": 1}
                    continue
                with pytest.raises(SerializationError):
                    reader.sessions.codec.restore(found, DictSession)
        for store in (plain, signed, encrypted):
            store.close()

    def test_records_cannot_be_swapped(self, sealed: SessionStore) -> None:
        mine, victim = saved(sealed, who="attacker"), saved(sealed, who="victim")
        record = sealed.read(str(victim.key))
        assert record is not None
        damage(sealed, mine, record.data)
        assert sealed.sessions.load(str(mine.id), DictSession) is None

    @needs_merging
    def test_sealed_sessions_work(self, sealed: SessionStore) -> None:
        visitor = logged_in(manage(sealed), n=1)
        slow = visitor.begin()
        slow.session["slow"] = 1
        with visitor.visit() as session:
            session["fast"] = 1
        visitor.end(slow)
        assert visitor.look() == {"n": 1, "slow": 1, "fast": 1}

    def test_encrypted_state_is_not_readable(self, recipe: Recipe, clock: Clock) -> None:
        store = recipe.make(clock=clock, serializer=Encrypted(PickleSerializer(), SECRET))
        store.setup()
        session = saved(store, note="the-answer-is-42")
        kept = contents(store, str(session.key))
        assert kept
        assert all(b"the-answer" not in data for data in kept.values())
        store.close()

    def test_unknown_ids_create_nothing(self, store: SessionStore) -> None:
        """CVE-2015-5143 (Django): asking for an unknown key created an empty record."""
        manager = manage(store)
        ids = [tokens.new_id() for _ in range(100)]
        for id in ids:
            assert Visitor(manager, id).look() == {}
        assert not contents(store, *map(store.sessions.key, ids))

    def test_logout_of_nobody_creates_nothing(self, store: SessionStore) -> None:
        """CVE-2015-5963, CVE-2015-5964 (Django): logging out without a session created an empty record."""
        manager = manage(store)
        visitor = Visitor(manager)
        for cookie in (None, "", id := tokens.new_id()):
            visitor.cookie = cookie
            exchange = visitor.begin()
            manager.expire_session(exchange)
            visitor.end(exchange)
        assert not contents(store, store.sessions.key(id))

    def test_no_id_means_no_session_after_logout(self, store: SessionStore) -> None:
        """CVE-2015-3982 (Django): after a logout the empty key led to a record."""
        manager = manage(store)
        visitor = logged_in(manager)
        exchange = visitor.begin()
        manager.expire_session(exchange)
        visitor.end(exchange)
        assert manager.load("") is None
        assert manager.load(None) is None
        assert store.load_session("") is None

    def test_key_is_no_cookie(self, store: SessionStore) -> None:
        """CVE-2019-16782 (Rack): ids were stored as they are; with hashes, a hash must not work as an id."""
        visitor = logged_in(manage(store))
        kept = contents(store, visitor.key)
        key = next(iter(kept))
        assert key != visitor.cookie
        everything = b"".join([*kept.values(), *map(str.encode, kept)])
        assert str(visitor.cookie).encode() not in everything
        visitor.cookie = key
        assert visitor.look() == {}

    def test_deleted_session_stays_deleted(self, store: SessionStore) -> None:
        """CVE-2025-32441, CVE-2025-46336 (Rack): a slower request restored a deleted session."""
        manager = manage(store)
        visitor = logged_in(manager, n=1)
        key, slow, logout = visitor.key, visitor.begin(), visitor.begin()
        slow.session["n"] = 2
        manager.expire_session(logout)
        manager.finish_successful_request(logout)
        manager.finish_successful_request(slow)
        assert not contents(store, key)

    def test_chosen_id_is_not_adopted(self, store: SessionStore) -> None:
        """CVE-2011-4718 (PHP): an id that the client made up was taken."""
        visitor = Visitor(manage(store))
        chosen = visitor.cookie = tokens.new_id()
        with visitor.visit() as session:
            session["n"] = 1
        assert visitor.cookie != chosen
        visitor.cookie = chosen
        assert visitor.look() == {}

    def test_old_cookie_after_logout(self, store: SessionStore) -> None:
        """CVE-2023-20862 (Spring Security): a session that had been logged out could be used again."""
        manager = manage(store)
        visitor = logged_in(manager, n=1)
        old = visitor.cookie
        exchange = visitor.begin()
        manager.expire_session(exchange)
        visitor.end(exchange)
        visitor.cookie = old
        assert visitor.look() == {}

    @needs_merging
    def test_no_id_is_told(self, recipe: Recipe, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """CVE-2023-20866 (Spring Session): the id was written to the log."""
        caplog.set_level(logging.DEBUG)
        heard: list[Event] = []
        store = recipe.make(clock=clock, observer=heard.append)
        store.setup()
        manager = manage(store, renew_after=50)
        visitor = logged_in(manager)
        ids = {visitor.cookie}
        for _ in range(3):
            clock.advance(60)
            visitor.look()
            ids.add(visitor.cookie)
        if store.can_list:
            manager.revoke_user("anna")
        else:
            manager.delete(str(visitor.cookie))
        store.close()
        assert len(ids) == 4
        assert {"created", "renewed", "revoked" if store.can_list else "ended"} <= {event.name for event in heard}
        assert not [id for id in ids if str(id) in caplog.text + repr(heard)]

    def test_similar_keys_stay_apart(self, recipe: Recipe, clock: Clock) -> None:
        """CVE-2026-25480 (Litestar): two keys became one file name."""
        store = recipe.make(clock=clock, hash_ids=False)
        store.setup()
        ids = ["k-" + "a" * 41, "k45" + "a" * 40, "K-" + "a" * 41, "-" * 43, "_" * 43, "-_" * 21 + "-"]
        for number, id in enumerate(ids):
            session = DictSession(id)
            session["n"] = number
            ties(session).expires = clock() + 100
            store.sessions.save(session)
        assert [store.sessions.load(id, DictSession)["n"] for id in ids] == list(range(len(ids)))  # type: ignore[index]
        store.close()

    @needs_listing
    def test_limit_of_sessions(self, store: SessionStore, clock: Clock) -> None:
        manager = manage(store, max_sessions=2)
        visitors = []
        for _ in range(4):
            clock.advance(1)
            visitors.append(logged_in(manager, n=1))
        assert [visitor.look() for visitor in visitors] == [{}, {}, {"n": 1}, {"n": 1}]
        assert len(list(manager.sessions_of("anna"))) == 2

    @needs_listing
    def test_revoking_all_but_one(self, store: SessionStore) -> None:
        manager: SessionManager[Any] = manage(store)
        visitors = [logged_in(manager, n=number) for number in range(3)]
        kept = manager.load(visitors[1].cookie)
        assert manager.revoke_user("anna", except_=kept) == 2
        assert [visitor.look() for visitor in visitors] == [{}, {"n": 1}, {}]
