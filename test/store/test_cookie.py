"""Sessions in cookies: the suite, on browsers that keep a record each; and the ways of a client with its cookies."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    Encrypted,
    JSONSerializer,
    PickleSerializer,
    SessionManager,
    Signed,
    StoreUnavailable,
    from_url,
    get_secret,
)
from session2.cookies import values_of
from session2.errors import SerializationError, SessionTooLarge
from session2.exchange import set_cookie_header
from session2.found import Absence
from session2.record import Record, Version
from session2.serializers import MsgpackSerializer
from session2.store import cookie
from session2.store.cookie import CookieSessionStore
from session2.store.records import checked_key
from session2.store.turns import purge_in_turn
from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite
from session2.testing.fakes import Clock, FakeExchange
from session2.traces import is_lock

SECRET = get_secret()

# -- the suite --------------------------------------------------------------------------------------------------------


class Browsers(CookieSessionStore):
    """A browser for each record; every call of a primitive is a request that it sends, with what it was sent before.

    What a session holds is pickled here, for the suite keeps much that is not JSON.
    """

    def __init__(self, serializer: Any = None, clock: Any = None, **options: Any) -> None:
        super().__init__(SECRET, VolatileSessionStore(clock=clock), clock=clock, **options)
        self.serializer = serializer or PickleSerializer()
        self.jars: dict[str, dict[str, str]] = {}

    @contextmanager
    def request(self, key: str) -> Iterator[Any]:
        if is_lock(checked_key(key)):
            yield self._beside(key)
            return
        request = super().for_request(FakeExchange(self.jars.setdefault(key, {})), CookiePolicy())
        yield request
        request.deliver()

    def for_request(self, exchange: Any, policy: Any) -> Any:
        return self

    def read(self, key: str) -> Record | None:
        with self.request(key) as request:
            found: Record | None = request.read(key)
            return found

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        with self.request(key) as request:
            return request.write(key, record, expected)

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        with self.request(key) as request:
            return bool(request.touch(key, accessed, expires))

    def remove(self, key: str, expected: Version | None = None) -> None:
        with self.request(key) as request:
            request.remove(key, expected)


class TestCookies(StoreSuite):
    store_class = Browsers
    processes = False
    largest = 1_000_000

    @pytest.fixture(autouse=True)
    def browsers_without_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cookie, "LARGEST", 10 ** 8)


# -- a browser, and what somebody does who holds its cookies ---------------------------------------------------------


class Request(FakeExchange):
    """A request with a whole Cookie header."""

    def __init__(self, header: str, **options: Any) -> None:
        super().__init__({}, **options)
        self.header = header

    def get_cookies(self, name: str) -> list[str]:
        return values_of(self.header, name)


class Client:
    """Keeps its cookies and sends all of them, as browsers do."""

    def __init__(self, manager: SessionManager[DictSession], cookies: dict[str, str] | None = None) -> None:
        self.manager = manager
        self.cookies = dict(cookies or {})

    def copy(self, **changed: str) -> Client:
        return Client(self.manager, {**self.cookies, **{name.replace("_", "-"): changed[name] for name in changed}})

    def begin(self, **options: Any) -> Request:
        request = Request("; ".join(f"{name}={value}" for name, value in self.cookies.items()), **options)
        self.manager.start_request(request)
        return request

    def end(self, request: Request) -> Request:
        self.manager.finish_successful_request(request)
        for name, (value, attributes) in request.sent.items():
            self.cookies[name] = value
            if attributes.get("max_age") == 0:
                del self.cookies[name]
        return request

    @contextmanager
    def visit(self) -> Iterator[DictSession]:
        request = self.begin()
        yield request.session
        self.end(request)

    def look(self) -> tuple[Any, dict[str, Any]]:
        """Return the user, and what the session holds."""
        with self.visit() as session:
            return session.user, dict(session)

    def log_out(self) -> Request:
        request = self.begin()
        self.manager.expire_session(request)
        return self.end(request)

    def absence(self) -> Absence | None:
        absence: Absence | None = self.begin().visit.absence
        return absence


NOBODY: tuple[Any, dict[str, Any]] = (None, {})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plain(clock: Clock) -> SessionManager[DictSession]:
    """A manager that does not know which sessions have ended."""
    return manage(CookieSessionStore(SECRET, clock=clock))


@pytest.fixture
def remembering(clock: Clock) -> SessionManager[DictSession]:
    """A manager that does."""
    return manage(CookieSessionStore(SECRET, VolatileSessionStore(clock=clock), clock=clock))


@pytest.fixture(params=["plain", "remembering"])
def manager(request: pytest.FixtureRequest) -> SessionManager[DictSession]:
    found: SessionManager[DictSession] = request.getfixturevalue(request.param)
    return found


def manage(store: CookieSessionStore, **options: Any) -> SessionManager[DictSession]:
    return SessionManager(store, DictSession, **{"idle_timeout": 100, "lifetime": 1000, "touch_interval": 10,
                                                 **options})


def begun(manager: SessionManager[DictSession], user: str | None = None, **items: Any) -> Client:
    client = Client(manager)
    with client.visit() as session:
        session.update(items)
        session.user = user
    return client


def test_a_session_comes_back_with_its_browser(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, "anna", a=1)
    assert set(client.cookies) == {"session2", "session2-data"}
    assert client.look() == ("anna", {"a": 1})
    with client.visit() as session:
        session["a"] = 2
    assert client.look() == ("anna", {"a": 2})


def test_nothing_is_sent_of_a_session_without_information(manager: SessionManager[DictSession]) -> None:
    client = Client(manager)
    assert client.look() == NOBODY
    assert client.cookies == {}


def test_nobody_can_read_the_cookie(manager: SessionManager[DictSession]) -> None:
    cookies = begun(manager, "anna", note="the-answer").cookies
    assert "the-answer" not in repr(cookies)
    assert all(character.isalnum() or character in "-_" for character in cookies["session2-data"])


def test_the_cookies_are_sent_when_the_session_changed_or_a_touch_is_due(manager: SessionManager[DictSession],
                                                                         clock: Clock) -> None:
    client = begun(manager, a=1)
    assert client.end(client.begin()).sent == {}
    clock.advance(9)
    assert client.end(client.begin()).sent == {}
    clock.advance(1)
    assert set(client.end(client.begin()).sent) == {"session2", "session2-data"}
    assert client.end(client.begin()).sent == {}


def test_both_cookies_are_of_one_answer(plain: SessionManager[DictSession]) -> None:
    """Else the browser could have the id of a login and the state of a request that was under way."""
    client = begun(plain, a=1)
    slow = client.begin()
    slow.session["slow"] = 1
    with client.visit() as session:
        session.user = "anna"
    client.end(slow)
    assert client.look() == (None, {"a": 1, "slow": 1}), "the last answer wins"


def test_the_last_answer_wins(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=0, b=0)
    one, two = client.begin(), client.begin()
    one.session["a"], two.session["b"] = 1, 1
    client.end(one)
    client.end(two)
    assert client.look() == (None, {"a": 0, "b": 1})


POLICIES = [CookiePolicy(), CookiePolicy("__Host-shop", secure=True), CookiePolicy(max_age=500, samesite="Strict"),
            CookiePolicy("__Secure-shop", path="/shop", domain="shop.example", secure=True, samesite="None",
                         partitioned=True, httponly=False)]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_attributes_are_those_of_the_id(policy: CookiePolicy, clock: Clock) -> None:
    client = Client(manage(CookieSessionStore(SECRET, clock=clock), cookie=policy))
    request = client.begin(is_secure=True)
    request.session["a"] = 1
    sent = client.end(request).sent
    assert set(sent) == {policy.name, f"{policy.name}-data"}
    assert sent[f"{policy.name}-data"][1] == sent[policy.name][1] == policy.attributes(request)
    assert ("Cache-Control", "no-store") in request.headers
    gone = client.log_out().sent
    assert {name: (value, attributes) for name, (value, attributes) in gone.items()} == {
        name: ("", {**policy.attributes(FakeExchange()), "max_age": 0}) for name in sent}
    assert client.cookies == {}


def test_the_attributes_are_those_that_the_id_has_come_to(manager: SessionManager[DictSession]) -> None:
    """Django and Flask decide at the end how long a browser is to keep a session."""
    request = FakeExchange()
    manager.start_request(request)
    request.session["a"] = 1
    request.visit.policy = CookiePolicy(max_age=60)
    manager.finish_successful_request(request)
    assert [attributes["max_age"] for _, attributes in request.sent.values()] == [60, 60]


def test_a_session_in_which_nothing_is_left_takes_its_cookies_along(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    with client.visit() as session:
        del session["a"]
    assert client.cookies == {}


# -- hostile cookies ---------------------------------------------------------------------------------------------------


def test_a_client_can_change_nothing(manager: SessionManager[DictSession]) -> None:
    """Neither the state nor a time: one bit anywhere, and there is no session."""
    client = begun(manager, "anna", a=1)
    value = client.cookies["session2-data"]
    for place in range(0, len(value), 5):
        other = "A" if value[place] != "A" else "Q"
        changed = client.copy(session2_data=value[:place] + other + value[place + 1:])
        assert changed.look() == NOBODY, place


@pytest.mark.parametrize("value", ["", "=", "x", "x" * 100, "x" * 5000, "%00", "\N{SNOWMAN}" * 50, "a.b.c", "*del*",
                                   "'\"", "s2 encrypted ", "czIgZW5jcnlwdGVkIA", "x" * 1_000_000])
def test_garbage_is_no_session(manager: SessionManager[DictSession], value: str) -> None:
    client = begun(manager, a=1).copy(session2_data=value)
    assert client.look() == NOBODY
    with client.visit() as session:
        session["b"] = 1
    assert client.look() == (None, {"b": 1})


def test_a_record_of_a_store_with_the_same_secret_is_no_cookie(plain: SessionManager[DictSession]) -> None:
    """Who has a copy of the store must not be able to send what he found there."""
    client, seal = begun(plain, a=1), Encrypted(JSONSerializer(), SECRET)
    for padding in ("", "x" * 500):
        data = seal.seal(seal.dumps({"data": {"a": padding}}), plain.sessions.key(client.cookies["session2"]))
        assert client.copy(session2_data=base64.urlsafe_b64encode(data).decode()).look() == NOBODY


def test_a_huge_cookie_is_not_even_opened(plain: SessionManager[DictSession], monkeypatch: pytest.MonkeyPatch) -> None:
    client = begun(plain, a=1)
    opened: list[Any] = []
    monkeypatch.setattr(plain.store.seal, "open", lambda *arguments: opened.append(arguments))  # type: ignore[attr-defined]
    sealed = client.cookies["session2-data"]
    assert client.copy(session2_data=sealed + "A" * (4097 - len(sealed))).look() == NOBODY
    assert opened == []
    assert plain.store.looks_sealed(sealed + "A" * (4096 - len(sealed)))  # type: ignore[attr-defined]


def test_no_number_of_foreign_cookies_hides_ours(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    junk = [f"session2-data={value}" for value in ("", "x", "\xff", "A" * 300, "x" * 5000, "czIg", "s2 encrypted ")]
    request = Request("; ".join(junk + [f"{name}={value}" for name, value in client.cookies.items()]))
    manager.start_request(request)
    assert request.session["a"] == 1


def test_a_cookie_cut_short_is_no_session(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    value = client.cookies["session2-data"]
    for length in range(0, len(value), 7):
        assert client.copy(session2_data=value[:length]).look() == NOBODY


def test_the_state_and_the_times_of_another_session_are_nobodys(manager: SessionManager[DictSession]) -> None:
    mine, theirs = begun(manager, "me"), begun(manager, "them")
    assert mine.copy(session2_data=theirs.cookies["session2-data"]).look() == NOBODY
    assert mine.copy(session2=theirs.cookies["session2"]).look() == NOBODY


def test_a_cookie_without_the_other_is_nothing(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    for name in client.cookies:
        assert Client(manager, {name: client.cookies[name]}).look() == NOBODY


def test_of_several_cookies_of_one_name_the_newest_counts(manager: SessionManager[DictSession], clock: Clock) -> None:
    """The path was changed, say, and the browser has one of either; or somebody planted some on another domain."""
    client, stranger = begun(manager, "anna", n=1), begun(manager, "eve")
    before = client.cookies["session2-data"]
    clock.advance(1)
    with client.visit() as session:
        session["n"] = 2
    others = [before, stranger.cookies["session2-data"], "x" * 99, client.cookies["session2-data"]]
    for order in itertools.permutations(others):
        header = "; ".join(f"session2-data={value}" for value in order)
        request = Request(f"session2={client.cookies['session2']}; {header}")
        manager.start_request(request)
        assert (request.session.user, request.session["n"]) == ("anna", 2)


def test_secrets_are_replaced_one_by_one(clock: Clock) -> None:
    old, new = get_secret(), get_secret()
    client = begun(manage(CookieSessionStore(old, clock=clock)), a=1)
    client.manager = manage(CookieSessionStore([new, old], clock=clock))
    assert client.look() == (None, {"a": 1})
    with client.visit() as session:
        session["a"] = 2
    client.manager = manage(CookieSessionStore(new, clock=clock))
    assert client.look() == (None, {"a": 2})
    client.manager = manage(CookieSessionStore(old, clock=clock))
    assert client.look() == NOBODY


@pytest.mark.parametrize("serializer", [
    Signed(JSONSerializer(), SECRET), Encrypted(MsgpackSerializer(), [SECRET, get_secret()])], ids=["signed", "other"])
def test_any_serializer_that_seals_will_do(serializer: Signed | Encrypted, clock: Clock) -> None:
    client = begun(manage(CookieSessionStore(serializer, clock=clock)), "anna", a=1)
    assert client.look() == ("anna", {"a": 1})
    client.manager = manage(CookieSessionStore(SECRET, clock=clock))
    assert client.look() == NOBODY, "it was not sealed in this way"


@pytest.mark.parametrize(("given", "message"), [
    (JSONSerializer(), "does not seal"), (PickleSerializer(), "does not seal"),
    (Encrypted(PickleSerializer(), SECRET), "no pickle"), (Signed(PickleSerializer(), SECRET), "no pickle"),
    ("short", "at least 32 bytes"), ([], "at least one secret")], ids=range(6))
def test_what_would_not_be_safe_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CookieSessionStore(given)


def test_clocks_end_a_session_whatever_its_cookie_is_used_for(manager: SessionManager[DictSession],
                                                              clock: Clock) -> None:
    client = begun(manager, "anna")
    stale = client.copy()
    for _ in range(10):
        clock.advance(99)
        assert client.look() == ("anna", {})
    assert stale.look() == NOBODY
    assert stale.absence() is Absence.EXPIRED
    clock.advance(10)
    assert client.look() == NOBODY


# -- what has ended ----------------------------------------------------------------------------------------------------


def test_without_a_memory_a_copy_outlives_the_logout(plain: SessionManager[DictSession], clock: Clock) -> None:
    client = begun(plain, "anna")
    copy = client.copy()
    client.log_out()
    assert client.look() == NOBODY
    assert copy.look() == ("anna", {})
    with pytest.raises(ConfigurationError, match="cannot list"):
        plain.revoke_user("anna")
    clock.advance(100)
    assert copy.look() == NOBODY


def test_a_copy_is_refused_after_the_logout(remembering: SessionManager[DictSession], clock: Clock) -> None:
    client = begun(remembering, "anna")
    copy = client.copy()
    client.log_out()
    assert copy.absence() is Absence.ENDED
    assert copy.look() == NOBODY


def test_a_copy_in_use_is_refused_as_long_as_it_could_be_valid(remembering: SessionManager[DictSession],
                                                               clock: Clock) -> None:
    """The owner came last 90 seconds ago, the thief a moment ago: the thief's cookie expires later than the owner's."""
    client = begun(remembering, "anna")
    copy = client.copy()
    clock.advance(90)
    assert copy.look() == ("anna", {})
    request = client.begin()
    remembering.expire_session(request)
    client.end(request)
    for _ in range(11):
        purge_in_turn(remembering.store, 1)
        assert copy.copy().look() == NOBODY
        clock.advance(10)
    remembering.store.purge()
    assert copy.look() == NOBODY


@pytest.mark.parametrize("longer", [500, None])
def test_a_copy_of_when_the_session_was_to_live_longer_is_refused_too(remembering: SessionManager[DictSession],
                                                                      clock: Clock, longer: int | None) -> None:
    """Applications set clocks for a single session: a visitor who was to be remembered for weeks changes his mind."""
    long = SessionManager(remembering.store, DictSession, idle_timeout=longer, lifetime=None)
    copy = begun(long, "anna")
    client = Client(remembering, copy.cookies)
    clock.advance(20)
    client.look()
    with client.visit() as session:
        session["a"] = 1
    client.log_out()
    for _ in range(5):
        clock.advance(90)
        remembering.store.purge()
        assert copy.copy().look() == NOBODY


def test_nothing_is_kept_of_what_could_not_be_valid_any_more(remembering: SessionManager[DictSession],
                                                             clock: Clock) -> None:
    client = begun(remembering, "anna")
    client.log_out()
    with client.visit() as session:
        session["a"] = 1
    with client.visit() as session:
        session.user = "bert"
    kept = remembering.store._aside  # type: ignore[attr-defined]
    assert len(list(kept.scan())) == 2
    clock.advance(100)
    assert purge_in_turn(remembering.store, 1) == 2
    assert [key for key, _ in kept.scan() if not is_lock(key)] == []


def test_what_is_kept_holds_no_id_and_no_name(remembering: SessionManager[DictSession]) -> None:
    client = begun(remembering, "anna-of-the-shop")
    copy = client.copy()
    client.log_out()
    remembering.revoke_user("anna-of-the-shop")
    kept = repr([(key, *record) for key, record in remembering.store._aside.scan()])  # type: ignore[attr-defined]
    assert "anna" not in kept
    assert copy.cookies["session2"] not in kept


def test_the_cookie_before_a_login_is_dead(remembering: SessionManager[DictSession], clock: Clock) -> None:
    client = begun(remembering, a=1)
    before = client.copy()
    with client.visit() as session:
        session.user = "anna"
    assert before.absence() is Absence.ROTATED
    assert before.look() == NOBODY
    clock.advance(61)
    assert before.absence() is Absence.ENDED
    with before.visit() as session:
        session["b"] = 1
    assert before.look() == (None, {"b": 1})
    assert client.look() == ("anna", {"a": 1})


@pytest.mark.parametrize("late", ["change", "login", "emptied"])
@pytest.mark.parametrize("ending", ["logout", "login", "emptied", "revoked"])
def test_a_request_under_way_does_not_restore_what_has_ended(remembering: SessionManager[DictSession], ending: str,
                                                             late: str, clock: Clock) -> None:
    client = begun(remembering, "anna", a=1)
    slow = client.begin()
    slow.session["slow"] = 1
    if late != "change":
        slow.session.user = "eve" if late == "login" else None
    if late == "emptied":
        slow.session.clear()
    if ending == "logout":
        client.log_out()
    elif ending == "revoked":
        remembering.revoke_user("anna")
    else:
        with client.visit() as session:
            session.user = "bert" if ending == "login" else None
            if ending == "emptied":
                session.clear()
    after = dict(client.cookies)
    clock.advance(10)
    assert client.end(slow).sent == {}
    assert client.cookies == after


def test_no_id_is_given_a_grace(manager: SessionManager[DictSession]) -> None:
    """Both ids would be sessions of their own: neither a logout nor a revocation by one would end the other."""
    client = begun(manager, "anna", a=1)
    before = client.copy()
    request = client.begin()
    with pytest.raises(ConfigurationError, match="grace"):
        manager.rotate(request.session, grace=30)
    client.end(request)
    assert client.cookies == before.cookies
    assert client.look() == ("anna", {"a": 1})


def test_a_copy_made_by_a_clock_that_was_ahead_is_refused_as_long_as_it_could_be_valid(
        remembering: SessionManager[DictSession], clock: Clock) -> None:
    client = begun(remembering, "anna")
    clock.advance(90)
    client.look()
    copy = client.copy()
    clock.advance(-90)
    client.log_out()
    clock.advance(101)
    remembering.store.purge()
    assert copy.look() == NOBODY


def test_a_revoked_user_is_logged_out_everywhere(remembering: SessionManager[DictSession], clock: Clock) -> None:
    clients = [begun(remembering, "anna", n=number) for number in range(3)]
    other, nobody = begun(remembering, "bert"), begun(remembering, n=7)
    kept = clients[0].begin().session
    clock.advance(1)
    assert remembering.revoke_user("anna", except_=kept) == 1
    assert [client.look() for client in clients] == [("anna", {"n": 0}), NOBODY, NOBODY]
    assert [client.absence() for client in clients] == [None, Absence.ENDED, Absence.ENDED]
    assert (other.look(), nobody.look()) == (("bert", {}), (None, {"n": 7}))
    clock.advance(1)
    remembering.revoke_user("anna")
    assert clients[0].look() == NOBODY


def test_who_logs_in_after_the_revocation_is_logged_in(remembering: SessionManager[DictSession], clock: Clock) -> None:
    """Also in a session that began before it, without a user."""
    early, late = begun(remembering, n=1), Client(remembering)
    remembering.revoke_user("anna")
    clock.advance(1)
    for client in (early, late):
        with client.visit() as session:
            session.user = "anna"
        clock.advance(50)
        assert client.look()[0] == "anna"


def test_logins_and_revocations_of_one_moment_count_in_their_order(remembering: SessionManager[DictSession],
                                                                   clock: Clock) -> None:
    """So also where one server's clock lags behind another's, and on a system whose clock moves seldom."""
    for step in (0.0, -5.0, 0.0):
        remembering.revoke_user("anna")
        clock.advance(step)
        client = begun(remembering, "anna")
        assert client.look() == ("anna", {})
        clock.advance(step)
        remembering.revoke_user("anna")
        assert client.look() == NOBODY
        clock.advance(20)
        assert client.look() == NOBODY


def test_who_changes_the_id_while_the_user_is_revoked_does_not_get_away(remembering: SessionManager[DictSession],
                                                                        clock: Clock,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """The revocation has looked at the clock and is not stored yet: the new id is younger than it."""
    client = begun(remembering, "anna")
    kept: Any = remembering.store._aside  # type: ignore[attr-defined]
    write = kept.write

    def slowly(*arguments: Any) -> Any:
        monkeypatch.undo()
        clock.advance(1)
        request = client.begin()
        remembering.rotate(request.session)
        client.end(request)
        clock.advance(1)
        return write(*arguments)

    monkeypatch.setattr(kept, "write", slowly)
    remembering.revoke_user("anna")
    assert client.look() == NOBODY


def test_a_session_once_revoked_cannot_be_spared_by_a_later_revocation(remembering: SessionManager[DictSession],
                                                                       clock: Clock) -> None:
    client, copy = begun(remembering, "anna"), None
    session = client.begin().session
    copy = client.copy()
    remembering.revoke_user("anna")
    clock.advance(1)
    remembering.revoke_user("anna", except_=session)
    assert copy.look() == NOBODY


def test_revocations_at_once_all_count(remembering: SessionManager[DictSession], clock: Clock,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    client = begun(remembering, "anna")
    kept: Any = remembering.store._aside  # type: ignore[attr-defined]
    write, turns = kept.write, []

    def overtaken(*arguments: Any) -> Any:
        if not turns:
            turns.append(1)
            remembering.revoke_user("anna")
        return write(*arguments)

    monkeypatch.setattr(kept, "write", overtaken)
    clock.advance(1)
    assert remembering.revoke_user("anna") == 1
    assert client.look() == NOBODY


def test_a_revocation_between_the_look_and_the_save_counts(remembering: SessionManager[DictSession], clock: Clock,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    client = begun(remembering, "anna")
    request = client.begin()
    request.session["late"] = 1
    ended: Any = remembering.store.ended  # type: ignore[attr-defined]
    trace = ended.trace

    def and_then_it_is_revoked(*arguments: Any) -> Any:
        found = trace(*arguments)
        monkeypatch.undo()
        remembering.revoke_user("anna")
        clock.advance(1)
        return found

    monkeypatch.setattr(ended, "trace", and_then_it_is_revoked)
    client.end(request)
    assert client.look() == NOBODY


def test_when_the_memory_fails_nobody_gets_in(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = VolatileSessionStore(clock=clock)
    client = begun(manage(CookieSessionStore(SECRET, kept, clock=clock)), "anna", a=1)
    request = client.begin()
    request.session.user = "bert"

    def fail(*_: Any) -> Any:
        raise StoreUnavailable("it is down")

    monkeypatch.setattr(kept, "write", fail)
    with pytest.raises(StoreUnavailable):
        client.end(request)
    monkeypatch.setattr(kept, "read", fail)
    with pytest.raises(StoreUnavailable):
        client.begin()
    monkeypatch.undo()
    assert request.sent == {}
    assert client.look() == ("anna", {"a": 1})


# -- what is too large -------------------------------------------------------------------------------------------------


def test_a_session_too_large_is_an_error_before_anything_is_sent(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, "anna", small="x")
    request = client.begin()
    request.session.update(basket=["article"] * 400, text="y" * 900)
    with pytest.raises(SessionTooLarge, match=r"browsers keep 4096; the largest in it: 'basket' 40\d\d, 'text' 9\d\d") \
            as caught:
        client.end(request)
    assert (request.sent, caught.value.status) == ({}, 500)
    assert "article" not in str(caught.value)
    assert client.look() == ("anna", {"small": "x"})


def test_a_login_into_a_session_too_large_leaves_all_as_it_was(remembering: SessionManager[DictSession]) -> None:
    client = begun(remembering, "anna", small="x")
    request = client.begin()
    request.session.user, request.session["large"] = "bert", "y" * 5000
    with pytest.raises(SessionTooLarge):
        client.end(request)
    assert client.look() == ("anna", {"small": "x"})


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_as_much_is_kept_as_browsers_keep(policy: CookiePolicy, clock: Clock) -> None:
    client = Client(manage(CookieSessionStore(SECRET, clock=clock), cookie=policy))
    longest = 0
    for size in range(2500, 3000):
        request = client.begin(is_secure=True)
        request.session["text"] = "".join(random.Random(size).choices("abc", k=size))
        try:
            client.end(request)
        except SessionTooLarge:
            break
        ((value, attributes),) = [request.sent[name] for name in request.sent if name.endswith("-data")]
        longest = len(set_cookie_header(f"{policy.name}-data", value, attributes))
    assert 4090 <= longest <= 4096
    assert len(client.look()[1]["text"]) == size - 1


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"concurrency": "lock"}, {"concurrency": "strict"}, {"renew_after": 60}],
                         ids=lambda options: next(iter(options.values())))
def test_what_needs_requests_that_meet_is_refused_when_the_manager_is_made(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"in CookieSessionStore the last answer wins"):
        manage(CookieSessionStore(SECRET), **options)


@pytest.mark.parametrize("mode", ["lock", "strict"])
def test_and_when_a_request_asks_for_it(plain: SessionManager[DictSession], mode: Any) -> None:
    with pytest.raises(ConfigurationError, match="the last answer wins"):
        plain.start_request(FakeExchange(), mode)
    with pytest.raises(ConfigurationError, match="the last answer wins"):
        manage(CookieSessionStore(SECRET), concurrency=lambda _: mode).start_request(FakeExchange())


def test_a_session_is_to_be_had_in_its_request_only(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    session_id = client.cookies["session2"]
    for call in (manager.load, manager.delete, manager.lock):
        with pytest.raises(ConfigurationError, match="a session in a cookie can"):
            call(session_id)
    request = client.begin()
    with pytest.raises(ConfigurationError, match="cannot be locked"):
        manager.lock_request(request)
    assert manager.has_session_cookie(must_exist=True, exchange=request)
    assert not manager.has_session_cookie(must_exist=True, exchange=Request(f"session2={session_id}"))


def test_what_has_ended_cannot_be_kept_in_cookies_too() -> None:
    with pytest.raises(ConfigurationError, match="ended_in needs a store of another kind"):
        CookieSessionStore(SECRET, CookieSessionStore(SECRET))


def test_it_is_as_safe_as_what_remembers_the_ended(tmp_path: Any) -> None:
    shared = from_url(f"sqlite:{tmp_path}/ended?create=true")
    assert CookieSessionStore(SECRET).is_multiprocess_safe
    assert CookieSessionStore(SECRET, shared).is_multiprocess_safe
    assert not CookieSessionStore(SECRET, VolatileSessionStore()).is_multiprocess_safe


def test_max_sessions_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_sessions"):
        manage(CookieSessionStore(SECRET), max_sessions=1)


def test_what_comes_after_the_headers_cannot_be_stored(manager: SessionManager[DictSession], clock: Clock) -> None:
    client = begun(manager, a=1)
    request = client.begin()
    request.session["late"] = 1
    with pytest.raises(ConfigurationError, match="the headers are out"):
        manager.settle_request(request, headers_sent=True)
    assert request.sent == {}
    clock.advance(50)
    request = client.begin()
    manager.settle_request(request, headers_sent=True)
    assert request.sent == {}


def test_nor_does_what_was_stored_in_mid_request_go_unsaid(manager: SessionManager[DictSession]) -> None:
    """Adapters settle where there is news; what the application stored itself is some until it is sent."""
    client = begun(manager, a=1)
    request = client.begin()
    assert not request.visit.has_news()
    request.session["a"] = 2
    manager.save(request.session)
    assert request.visit.has_news()
    manager.settle_request(request)
    assert not request.visit.has_news()
    request.session["a"] = 3
    manager.save(request.session)
    with pytest.raises(ConfigurationError, match="the headers are out"):
        manager.settle_request(request, headers_sent=True)
    client.end(request)
    assert client.look() == (None, {"a": 2})


def test_a_late_logout_holds_where_it_is_remembered(remembering: SessionManager[DictSession]) -> None:
    client = begun(remembering, "anna")
    request = client.begin()
    remembering.expire_session(request)
    remembering.settle_request(request, headers_sent=True)
    assert request.sent == {}
    assert client.look() == NOBODY


def test_a_value_that_is_no_json_loses_nothing(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    request = client.begin()
    request.session["bad"] = {1}
    with pytest.raises(SerializationError, match="'bad'"):
        client.end(request)
    assert client.look() == (None, {"a": 1})


def test_a_request_that_fails_takes_nothing_along(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    request = client.begin()
    request.session["a"] = 2
    manager.save(request.session)
    manager.finish_failed_request(request)
    assert request.sent == {}


def test_what_the_application_saves_itself_is_sent_at_the_end(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    request = client.begin()
    request.session["a"] = 2
    manager.save(request.session)
    client.end(request)
    assert client.look() == (None, {"a": 2})


def test_a_session_stored_in_mid_request_has_both_its_cookies_at_once(manager: SessionManager[DictSession]) -> None:
    client = Client(manager)
    request = client.begin()
    request.session["a"] = 1
    manager.maintain_session(request.session, request)
    manager.finish_failed_request(request)
    for name, (value, _) in request.sent.items():
        client.cookies[name] = value
    assert client.look() == (None, {"a": 1})


def test_a_request_of_before_a_login_takes_no_cookie_of_it_along(remembering: SessionManager[DictSession],
                                                                 clock: Clock) -> None:
    """What the application stored itself is taken back, and the browser has the cookies of the login by now."""
    client = begun(remembering, n=1)
    before = client.copy()
    with client.visit() as session:
        session.user = "anna"
    late = before.begin()
    late.session["late"] = 1
    remembering.save(late.session)
    client.end(late)
    assert client.look() == ("anna", {"n": 1})


def test_a_logout_and_login_in_one_request(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, "anna", a=1)
    request = client.begin()
    manager.expire_session(request)
    request.session.user = "bert"
    client.end(request)
    assert client.look() == ("bert", {})


# -- from a URL --------------------------------------------------------------------------------------------------------


def test_a_url_says_the_seal_and_where_ended_sessions_are_kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION2_SECRETS", SECRET)
    manager = manage(from_url(f"cookie:?serializer=encrypted-json&ended_in=sqlite:{tmp_path}/ended%3Fhash_ids%3Dfalse"))
    manager.store.setup()
    client = begun(manager, "anna")
    copy = client.copy()
    client.log_out()
    manager.store.close()
    copy.manager = manage(from_url(f"cookie:?serializer=encrypted-json&ended_in=sqlite:{tmp_path}/ended"))
    assert copy.absence() is Absence.ENDED
    copy.manager.store.close()


@pytest.mark.parametrize("url", ["cookie:", "cookie:/tmp?serializer=signed-json", "cookie:?serializer=json",
                                 "cookie:?serializer=encrypted-pickle"])
def test_a_url_without_a_seal_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION2_SECRETS", SECRET)
    with pytest.raises(ConfigurationError, match=r"seal|pickle"):
        from_url(url)


def test_a_session_that_outlives_its_request_can_be_ended_and_not_stored(manager: SessionManager[DictSession]) -> None:
    client = begun(manager, a=1)
    with client.visit() as session:
        pass
    assert session.exchange is None
    session["b"] = 2
    for store in (manager.save, manager.rotate):
        with pytest.raises(ConfigurationError, match="can be stored no more"):
            store(session)
    manager.delete(session)
    assert (client.look() == NOBODY) is (manager.store.ended is not None)  # type: ignore[attr-defined]
