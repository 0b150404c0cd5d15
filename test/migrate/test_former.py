"""Visitors with the cookie of the system before: they keep their sessions, and nobody else gets one by it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import quixote.publish
from moving import BEGAN, an_hour_later, manager_of, visit
from quixote import get_session
from quixote.directory import Directory
from quixote.publish import Publisher
from quixote.wsgi import QWIP
from wsgi_client import Client

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    Encrypted,
    JSONSerializer,
    Session,
    SessionConflict,
    SessionManager,
    StoreUnavailable,
    from_url,
    get_secret,
)
from session2.adopted import adopted_id
from session2.environ import EnvironExchange
from session2.former import GRACE
from session2.found import Absence
from session2.legacy import SessionStore as OldStore
from session2.migrate import Fate, Former, FormerCookie, Skipped, Source, Unreadable, bring, cookies
from session2.migrate.bringing import bring_or_skip
from session2.store.base import SessionStore
from session2.store.cookie import CookieSessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock, FakeExchange
from session2.tokens import is_id, new_id
from session2.traces import is_session
from session2_wsgi import SessionMiddleware

OLD = "4f" * 16
OTHER = "5a" * 16


class Dict(Source):
    """Another system, with its sessions in a dict; it counts how often it is asked."""

    def __init__(self, **sessions: Former | Skipped) -> None:
        self.sessions = sessions
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def scan(self) -> Iterator[Former | Skipped]:
        return iter(self.sessions.values())

    def find(self, id: str) -> Former | Skipped | None:
        self.asked.append(id)
        if self.failure:
            raise self.failure
        return self.sessions.get(id)


class Killed(BaseException):
    pass


def former(id: str = OLD, user: str | None = "anna", **items: Any) -> Former:
    state: dict[str, Any] = {"data": {"a": 1, **items}, **({} if user is None else {"user": user})}
    return Former(id, state, BEGAN, BEGAN + 60)


def cookie(source: Source | None = None, **options: Any) -> FormerCookie:
    def read(value: str) -> str | None:
        return value if re.fullmatch("[0-9a-f]{32}", value) else None

    return FormerCookie("old", read, source, **options)


@pytest.fixture(params=["volatile", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    if request.param == "volatile":
        yield VolatileSessionStore(clock=an_hour_later())
        return
    store = from_url(f"{request.param}:{tmp_path}/store?create=true", clock=an_hour_later())
    yield store
    store.close()


@pytest.fixture
def source() -> Dict:
    return Dict(**{OLD: former()})


@pytest.fixture
def manager(store: SessionStore, source: Dict) -> SessionManager[DictSession]:
    return manager_of([cookie(source)], store)


def sessions_in(store: SessionStore) -> int:
    return sum(is_session(key, record) for key, record in store.scan())


# -- at the first request ----------------------------------------------------------------------------------------------


def test_the_session_goes_on_under_a_new_id_of_ours_and_the_old_cookie_is_deleted(
        manager: SessionManager[DictSession]) -> None:
    jar = {"old": OLD}
    exchange = visit(manager, jar)
    assert (exchange.session.user, exchange.session["a"]) == ("anna", 1)
    assert exchange.visit.absence is None
    assert exchange.sent["old"] == ("", {"path": "/", "max_age": 0})
    assert set(jar) == {"session2"}
    assert is_id(jar["session2"])
    assert jar["session2"] not in (OLD, adopted_id(OLD))
    assert visit(manager, jar).session.user == "anna"
    assert sessions_in(manager.store) == 1


@pytest.mark.parametrize("failure", [StoreUnavailable, SessionConflict])
def test_a_session_that_cannot_get_another_id_now_gets_it_next_time(
        manager: SessionManager[DictSession], failure: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> None:
        raise failure("not now")

    jar = {"old": OLD}
    with monkeypatch.context() as patched:
        patched.setattr(manager, "rotate", fails)
        patched.setattr(manager, "cookie", CookiePolicy(max_age=3600))  # sent also where the id stays
        assert visit(manager, jar).session.user == "anna"
    assert set(jar) == {"old"}
    assert visit(manager, jar).session.user == "anna"
    assert set(jar) == {"session2"}


def test_it_is_looked_for_in_the_other_system_only_once(manager: SessionManager[DictSession], source: Dict) -> None:
    for _ in range(3):
        assert visit(manager, {"old": OLD}).session.user == "anna"
    assert source.asked == [OLD]


def test_who_was_moved_beforehand_needs_no_source(store: SessionStore) -> None:
    assert bring(store, former()) is Fate.MOVED
    assert visit(manager_of([cookie()], store), {"old": OLD}).session.user == "anna"


def test_requests_that_overlap_find_the_same_session(manager: SessionManager[DictSession]) -> None:
    first, second, third = (FakeExchange({"old": OLD}) for _ in range(3))
    manager.start_request(first)
    manager.start_request(second)
    first.session["first"] = 1
    second.session["second"] = 2
    manager.finish_successful_request(first)
    manager.start_request(third)
    manager.finish_successful_request(second)
    manager.finish_successful_request(third)
    assert first.cookie_sent == second.cookie_sent == third.cookie_sent
    assert dict(visit(manager, first.cookies).session) == {"a": 1, "first": 1, "second": 2}


def test_of_many_first_requests_at_once_nothing_is_lost(store: SessionStore, source: Dict) -> None:
    manager, together = manager_of([cookie(source)], store), Barrier(8)

    def request(number: int) -> str | None:
        exchange = FakeExchange({"old": OLD})
        together.wait(20)
        manager.start_request(exchange)
        exchange.session[f"of {number}"] = number
        manager.finish_successful_request(exchange)
        return exchange.cookie_sent

    with ThreadPoolExecutor(8) as threads:
        sent = set(threads.map(request, range(8)))
    assert len(sent) == 1
    assert sessions_in(store) == 1
    assert dict(visit(manager, {"session2": str(sent.pop())}).session) == {
        "a": 1, **{f"of {number}": number for number in range(8)}}


def test_a_request_that_fails_or_whose_answer_is_lost_logs_nobody_out(manager: SessionManager[DictSession],
                                                                      store: SessionStore) -> None:
    exchange = FakeExchange({"old": OLD})
    manager.start_request(exchange)
    manager.finish_failed_request(exchange)
    visit(manager, {"old": OLD})
    assert isinstance(store.clock, Clock)
    store.clock.advance(GRACE - 1)
    assert visit(manager, {"old": OLD}).session.user == "anna"
    store.clock.advance(2)
    assert visit(manager, {"old": OLD}).session.user is None


@pytest.mark.parametrize("mode", ["merge", "lock", "strict", "read-only"])
def test_it_works_in_every_mode(store: SessionStore, source: Dict, mode: Any) -> None:
    manager = manager_of([cookie(source)], store, concurrency=mode)
    jar = {"old": OLD}
    assert visit(manager, jar).session.user == "anna"
    assert visit(manager, jar).session.user == "anna"


def test_under_a_lock_one_comes_after_the_other(store: SessionStore, source: Dict) -> None:
    manager = manager_of([cookie(source)], store, concurrency="lock", lock_timeout=0)
    first, second = FakeExchange({"old": OLD}), FakeExchange({"old": OLD})
    manager.start_request(first)
    with pytest.raises(Exception, match="lock"):
        manager.start_request(second)
    manager.finish_successful_request(first)
    assert visit(manager, {"old": OLD}).session.user == "anna"


def test_a_cookie_of_ours_that_leads_somewhere_comes_first(manager: SessionManager[DictSession], source: Dict) -> None:
    own = manager.new_session()
    own.user = "bert"
    manager.save(own)
    exchange = visit(manager, {"session2": str(own.id), "old": OLD})
    assert (exchange.session.user, source.asked, exchange.sent) == ("bert", [], {})


def test_who_never_had_a_former_cookie_is_told_of_none(manager: SessionManager[DictSession]) -> None:
    exchange = FakeExchange()
    manager.start_request(exchange)
    exchange.session["a"] = 1
    manager.finish_successful_request(exchange)
    assert list(exchange.sent) == ["session2"]


def test_one_that_leads_nowhere_does_not(manager: SessionManager[DictSession]) -> None:
    jar = {"session2": new_id(), "old": OLD}
    assert visit(manager, jar).session.user == "anna"
    assert set(jar) == {"session2"}


def test_both_cookies_may_have_the_same_name(store: SessionStore, source: Dict) -> None:
    manager = manager_of([cookie(source)], store, cookie=CookiePolicy(name="old"))
    jar = {"old": OLD}
    assert visit(manager, jar).session.user == "anna"
    assert is_id(jar["old"])
    assert visit(manager, jar).session.user == "anna"


def test_a_cookie_that_is_still_needed_is_kept(store: SessionStore, source: Dict) -> None:
    manager = manager_of([cookie(source, keep=True)], store)
    jar = {"old": OLD}
    visit(manager, jar)
    assert set(jar) == {"session2", "old"}


def test_it_is_deleted_where_it_was_set(store: SessionStore, source: Dict) -> None:
    manager = manager_of([cookie(source, path="/shop", domain="example.com")], store)
    exchange = FakeExchange({"old": OLD}, is_secure=True)
    manager.start_request(exchange)
    manager.finish_successful_request(exchange)
    assert exchange.sent["old"] == ("", {"path": "/shop", "domain": "example.com", "max_age": 0, "secure": True})


@pytest.mark.parametrize(("options", "said"), [
    ({"path": "shop"}, "path of a cookie"), ({"path": "/\r\nSet-Cookie: a=b"}, "path of a cookie"),
    ({"domain": "https://example.com"}, "domain of a cookie"), ({"name": "a b"}, "name of a cookie"),
    ({"name": "__Host-old", "path": "/shop"}, "__Host- cookie"),
])
def test_a_cookie_that_no_browser_can_have_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        FormerCookie(**{"name": "old", "read": str, **options})


# -- who gets nothing by it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [OTHER, "", "x", OLD.upper(), OLD + "0", "é" * 32, "a" * 43, "\0" * 32])
def test_an_id_that_no_store_knows_is_never_adopted(manager: SessionManager[DictSession], value: str) -> None:
    exchange = FakeExchange({"old": value})
    manager.start_request(exchange)
    assert exchange.session.user is None
    exchange.session.user = "victim"
    manager.finish_successful_request(exchange)
    id = exchange.cookies["session2"]
    assert is_id(id)
    assert id not in (value, adopted_id(value))
    assert visit(manager, {"old": value}).session.user is None


def test_what_cannot_be_an_id_reaches_no_system(manager: SessionManager[DictSession], source: Dict) -> None:
    visit(manager, {"old": "../../etc/passwd"})
    assert source.asked == []


def test_not_more_than_a_few_cookies_are_tried(manager: SessionManager[DictSession], source: Dict) -> None:
    class Crowd(FakeExchange):
        def get_cookies(self, name: str) -> list[str]:
            return [f"{number:032x}" for number in range(100)] if name == "old" else []

    manager.start_request(Crowd())
    assert len(source.asked) == 5


@pytest.mark.parametrize("later", [1.0, 30 * 86400.0])
def test_after_a_logout_the_old_cookie_leads_nowhere_ever(manager: SessionManager[DictSession], store: SessionStore,
                                                          source: Dict, later: float) -> None:
    exchange = FakeExchange({"old": OLD})
    manager.start_request(exchange)
    manager.expire_session(exchange)
    manager.finish_successful_request(exchange)
    assert exchange.sent["session2"][0] == exchange.sent["old"][0] == ""
    assert isinstance(store.clock, Clock)
    store.clock.advance(later)
    store.purge()
    source.sessions[OLD] = former()._replace(accessed=store.clock())
    exchange = visit(manager, {"old": OLD})
    assert exchange.session.user is None
    assert exchange.visit.absence in (Absence.ENDED, Absence.UNKNOWN)
    assert sessions_in(store) == 0


def test_a_session_that_was_revoked_does_not_come_back(store: SessionStore, source: Dict) -> None:
    manager = manager_of([cookie(source)], store)
    bring(store, former())
    assert manager.revoke_user("anna") == 1
    assert isinstance(store.clock, Clock)
    store.clock.advance(30 * 86400)
    store.purge()
    assert bring(store, former()) is Fate.LEFT
    assert visit(manager, {"old": OLD}).session.user is None


def test_after_a_login_by_another_user_the_old_id_is_dead_at_once(manager: SessionManager[DictSession]) -> None:
    jar = {"old": OLD}
    exchange = FakeExchange(jar)
    manager.start_request(exchange)
    exchange.session.user = "admin"
    manager.finish_successful_request(exchange)
    late = FakeExchange({"old": OLD})
    manager.start_request(late)
    assert late.session.user is None
    assert late.visit.absence is Absence.ROTATED
    late.session["b"] = 1
    manager.finish_successful_request(late)
    assert not late.sent, "a session of its own would take the place of the login"
    assert visit(manager, jar).session.user == "admin"


def test_who_is_over_by_our_clocks_or_theirs_is_logged_out(store: SessionStore) -> None:
    ended = former()._replace(expires=BEGAN + 3599)
    unused = Former(OTHER, {"user": "bert"}, BEGAN - 40 * 86400, BEGAN - 15 * 86400)
    manager = manager_of([cookie(Dict(**{OLD: ended, OTHER: unused}))], store)
    assert visit(manager, {"old": OLD}).session.user is None
    exchange = visit(manager, {"old": OTHER})
    assert (exchange.session.user, exchange.visit.absence) == (None, Absence.EXPIRED)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [OSError(5, "Input/output error"), StoreUnavailable("down")])
def test_a_system_that_fails_logs_nobody_out(manager: SessionManager[DictSession], source: Dict,
                                             failure: Exception) -> None:
    source.failure = failure
    with pytest.raises(StoreUnavailable):
        manager.start_request(FakeExchange({"old": OLD}))
    source.failure = None
    assert visit(manager, {"old": OLD}).session.user == "anna"


def test_who_was_moved_or_has_logged_out_needs_the_other_system_no_more(store: SessionStore, source: Dict) -> None:
    manager = manager_of([cookie(source)], store)
    bring(store, former())
    for key in [key for key, record in store.scan() if not is_session(key, record)]:
        store.remove(key)  # as if whoever brought it had been killed before it was noted
    source.failure = StoreUnavailable("down")
    exchange = FakeExchange({"old": OLD})
    manager.start_request(exchange)
    assert exchange.session.user == "anna"
    manager.expire_session(exchange)
    manager.finish_successful_request(exchange)
    assert isinstance(store.clock, Clock)
    store.clock.advance(30 * 86400)
    store.purge()
    assert visit(manager, {"old": OLD}).session.user is None
    assert source.asked == []


def test_a_store_that_fails_logs_nobody_out(manager: SessionManager[DictSession], store: SessionStore,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "write", fail)
        with pytest.raises(StoreUnavailable):
            manager.start_request(FakeExchange({"old": OLD}))
        with pytest.raises(StoreUnavailable):
            bring_or_skip(store, former())
    assert visit(manager, {"old": OLD}).session.user == "anna"


def test_what_cannot_be_moved_is_said_without_id_and_value(manager: SessionManager[DictSession], source: Dict,
                                                           caplog: pytest.LogCaptureFixture) -> None:
    source.sessions[OLD] = former(secret=lambda: "value of it")
    with caplog.at_level(logging.DEBUG, "session2"):
        assert visit(manager, {"old": OLD}).session.user is None
    assert "was not moved: 'secret' cannot be pickled" in caplog.text
    assert OLD not in caplog.text
    assert adopted_id(OLD) not in caplog.text


def test_what_is_noted_of_a_session_holds_neither_id_nor_user(store: SessionStore) -> None:
    bring(store, former())
    (note,) = (record for key, record in store.scan() if not is_session(key, record))
    assert (note.user, OLD.encode() in note.data) == (None, False)
    assert OLD not in repr(former())
    assert "anna" not in repr(former())


def test_stores_that_cannot_keep_former_sessions_are_refused(source: Dict) -> None:
    in_cookies = CookieSessionStore(serializer=Encrypted(JSONSerializer(), get_secret()))
    with pytest.raises(ConfigurationError, match="former needs a store in which"):
        SessionManager(in_cookies, former=[cookie(source)])
    with pytest.raises(ConfigurationError, match="keeps whole sessions"):
        SessionManager(OldStore(), former=[cookie(source)])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="list of FormerCookie"):
        SessionManager(VolatileSessionStore(), former=["QX_session"])  # type: ignore[list-item]


def test_without_former_cookies_none_is_looked_at(store: SessionStore) -> None:
    bring(store, former())
    assert visit(SessionManager(store, Session), {"old": OLD}).session.user is None


# -- bringing ----------------------------------------------------------------------------------------------------------


def test_what_changed_over_there_is_brought_again_until_its_visitor_comes(store: SessionStore) -> None:
    assert bring(store, former()) is Fate.MOVED
    assert bring(store, former()) is Fate.PRESENT
    newer = former(b=2)._replace(accessed=BEGAN + 90)
    assert bring(store, newer, dry_run=True) is Fate.MOVED
    assert bring(store, newer) is Fate.MOVED
    assert bring(store, former()) is Fate.PRESENT
    manager = manager_of([cookie()], store)
    assert dict(visit(manager, {"old": OLD}).session) == {"a": 1, "b": 2}
    assert bring(store, newer._replace(accessed=BEGAN + 120)) is Fate.LEFT


def test_what_is_older_over_there_replaces_nothing_whoever_its_user_is(store: SessionStore) -> None:
    """As when an old backup is moved once more."""
    bring(store, former()._replace(accessed=BEGAN + 90))
    assert bring(store, former(user="bert")) is Fate.PRESENT
    assert bring(store, former(user="bert")._replace(accessed=BEGAN + 90)) is Fate.MOVED, "a mistyped user_key"


def test_its_times_are_kept(store: SessionStore) -> None:
    bring(store, former()._replace(expires=BEGAN + 7200))
    record = store.read(store.sessions.key(adopted_id(OLD)))
    assert record is not None
    assert (record.created, record.modified, record.accessed, record.expires, record.user) == (
        BEGAN, BEGAN + 60, BEGAN + 60, BEGAN + 7200, "anna")


def test_where_no_times_are_known_or_they_are_wrong_it_begins_now(store: SessionStore) -> None:
    now = store.clock()
    for created, accessed in ((None, None), (now + 99, now + 99), (now + 99, None)):
        store.setup(drop=True)
        bring(store, Former(OLD, {"user": "anna"}, created, accessed))
        record = store.read(store.sessions.key(adopted_id(OLD)))
        assert record is not None
        assert (record.created, record.accessed) == (now, now)


def test_who_is_killed_between_the_writes_goes_on(store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = type(store).write

    def killed_at(number: int) -> None:
        count = iter(range(number))

        def killing(self: SessionStore, *arguments: Any) -> Any:
            if next(count, None) is None:
                raise Killed
            return write(self, *arguments)

        monkeypatch.setattr(type(store), "write", killing)

    for number, fate in ((0, Fate.MOVED), (1, Fate.MOVED), (2, Fate.PRESENT)):
        store.setup(drop=True)
        killed_at(number)
        with pytest.raises(Killed):
            bring(store, former())
        monkeypatch.setattr(type(store), "write", write)
        assert bring(store, former()) is fate
        assert sum(1 for _ in store.scan()) == 2


def test_who_is_killed_after_it_came_and_before_that_is_noted_brings_back_no_session_that_was_revoked(
        store: SessionStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write, stored = type(store).write, set[bool]()

    def killing(self: SessionStore, key: str, record: Any, expected: Any) -> Any:
        if True in stored:
            raise Killed
        stored.add(is_session(key, record))
        return write(self, key, record, expected)

    with monkeypatch.context() as killed:
        killed.setattr(type(store), "write", killing)
        with pytest.raises(Killed):
            bring(store, former())
    assert manager_of([cookie()], store).revoke_user("anna") == 1
    assert isinstance(store.clock, Clock)
    store.clock.advance(30 * 86400)
    store.purge()
    assert bring(store, former()) is Fate.LEFT


def test_where_it_was_not_noted_its_first_visit_does_it(store: SessionStore) -> None:
    """Whoever brought it was killed before, and nobody has done it again since."""
    bring(store, former())
    for key, record in list(store.scan()):
        if not is_session(key, record):
            store.remove(key)
    manager = manager_of([cookie()], store)
    exchange = FakeExchange({"old": OLD})
    manager.start_request(exchange)
    manager.expire_session(exchange)
    manager.finish_successful_request(exchange)
    assert isinstance(store.clock, Clock)
    store.clock.advance(30 * 86400)
    store.purge()
    assert bring(store, former()) is Fate.LEFT


def test_a_user_that_has_no_name_is_skipped(store: SessionStore) -> None:
    skipped = bring_or_skip(store, former(user=10**5000))  # type: ignore[arg-type]
    assert isinstance(skipped, Skipped)
    assert "number" in skipped.why
    assert list(store.scan()) == []


def test_a_dry_run_writes_nothing(store: SessionStore) -> None:
    assert bring(store, former(), dry_run=True) is Fate.MOVED
    assert list(store.scan()) == []


def test_a_purge_of_unused_sessions_leaves_the_notes(store: SessionStore) -> None:
    bring(store, former())
    assert store.purge(unused_since=BEGAN + 3000) == 1
    assert bring(store, former()) is Fate.LEFT


def test_ids_of_two_systems_do_not_meet_ours() -> None:
    assert not is_id(adopted_id(OLD))
    assert adopted_id(OLD) != adopted_id(OTHER)
    assert adopted_id(adopted_id(OLD)) != adopted_id(OLD)
    assert len(adopted_id("\ud800 any text")) == len(adopted_id(OLD))


def test_who_has_seen_the_ids_in_the_former_store_has_no_login(store: SessionStore) -> None:
    """There they were worth nothing without a signature."""
    bring(store, former())
    for former_cookies in ([], [cookie()]):
        manager = manager_of(former_cookies, store)
        for id in (OLD, adopted_id(OLD), adopted_id(OLD).removeprefix("former-")):
            assert visit(manager, {"session2": id}).session.user is None
            assert manager.load(id) is None
    assert visit(manager, {"old": OLD}).session.user == "anna"


@pytest.mark.parametrize("make", [cookies.beaker, cookies.flask_session, cookies.flask, cookies.django_signed,
                                  cookies.beaker_signed])
def test_a_former_cookie_shows_no_secret(make: Any) -> None:
    assert "sesame" not in repr(make(secrets=["sesame"]))


def test_a_mapping_tells_what_it_is_not() -> None:
    from session2.migrate.source import mapping

    for items in ([1], None, {1: 2}):
        with pytest.raises(Unreadable):
            mapping(OLD, items)
    assert mapping(OLD, {"who": 5}, "who").state == {"data": {"who": 5}, "user": 5}
    assert mapping(OLD, {"who": 5}, "nobody").state == {"data": {"who": 5}}


def test_what_an_application_leaves_at_a_logout_is_no_user_and_a_flag_is_not_that_of_all() -> None:
    from session2.migrate.source import mapping

    for user in (None, False, ""):
        assert mapping(OLD, {"who": user}, "who").state == {"data": {"who": user}}
    assert mapping(OLD, {"who": 0}, "who").state == {"data": {"who": 0}, "user": 0}
    with pytest.raises(Unreadable, match="not who"):
        mapping(OLD, {"who": True}, "who")


def test_over_http_one_answer_sets_the_new_cookie_and_deletes_the_old_one(source: Dict) -> None:
    manager = manager_of([cookie(source)])
    exchange = EnvironExchange({"HTTP_COOKIE": f'theirs="; old={OLD}; old=x', "wsgi.url_scheme": "https"})
    manager.start_request(exchange)
    manager.finish_successful_request(exchange)
    sent = [value for name, value in exchange.headers if name == "Set-Cookie"]
    assert len(sent) == 2
    assert "old=; Path=/; Max-Age=0; Secure" in sent
    assert [value.startswith("session2=") for value in sent].count(True) == 1
    assert ("Cache-Control", "no-store") in exchange.headers


def on_wsgi(manager: SessionManager[DictSession]) -> Any:
    def app(environ: dict[str, Any], start: Any) -> list[bytes]:
        user = environ["session2.session"].user
        start("200 OK", [("Content-Type", "text/plain")])
        return [str(user).encode()]

    return SessionMiddleware(app, manager)


def on_quixote(manager: SessionManager[DictSession]) -> Any:
    class Pages(Directory):
        _q_exports = [""]

        def _q_index(self) -> str:
            return str(get_session().user)

    quixote.publish._publisher = None  # it allows one in a process
    return QWIP(Publisher(Pages(), session_manager=manager))


@pytest.mark.parametrize("serve", [on_wsgi, on_quixote])
def test_adapters_take_such_a_manager(source: Dict, serve: Any) -> None:
    client = Client(serve(manager_of([cookie(source)])))
    client.cookie = f"old={OLD}"
    alone = {"wsgi.multithread": False}
    answer = client.get("/", **alone)
    assert answer.text == "anna"
    new, = (value for value in answer.all("Set-Cookie") if not value.startswith("old="))
    assert len(answer.all("Set-Cookie")) == 2
    client.cookie = new.partition(";")[0]
    assert client.get("/", **alone).text == "anna"
