"""The life of a session during one request, seen from the framework's side."""

import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    JSONSerializer,
    LockTimeout,
    PickleSerializer,
    Session,
    SessionConflict,
    SessionManager,
    Signed,
    StoreUnavailable,
    tokens,
    traces,
)
from session2.clocks import Clocks
from session2.errors import LockLost, ReadOnlySession, SerializationError
from session2.serializers import Serializer
from session2.store.lock import Left
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange
from session2.testing.store.visitor import is_locked

Cookies = dict[str, str]


class Clock:
    now = 1.8e9

    def __call__(self) -> float:
        return self.now


class Site:
    """A manager, its clock, and one browser."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.store = VolatileSessionStore(clock=self.clock)
        self.manager: SessionManager[Any] = SessionManager(self.store, DictSession, **options)
        self.cookies: Cookies = {}

    def start(self, cookies: Cookies | None = None, **options: Any) -> FakeExchange:
        request = FakeExchange(dict(self.cookies) if cookies is None else cookies)
        self.manager.start_request(request, **options)
        return request

    def finish(self, request: FakeExchange) -> FakeExchange:
        self.manager.finish_successful_request(request)
        return request

    def visit(self, page: Callable[[Any], object] = lambda session: None, **options: Any) -> FakeExchange:
        request = self.start(self.cookies, **options)
        page(request.session)
        return self.finish(request)

    @property
    def id(self) -> str:
        return self.cookies["session2"]


def unavailable(*args: Any) -> Any:
    raise StoreUnavailable("away for a moment")


def put(key: str, value: Any = 1) -> Callable[[Any], None]:
    return lambda session: session.__setitem__(key, value)


def login(user: Any) -> Callable[[Any], None]:
    return lambda session: session.set_user(user)


@pytest.fixture
def site() -> Site:
    return Site()


def test_without_information_there_is_no_record_and_no_cookie(site: Site) -> None:
    request = site.visit()
    assert not request.sent
    assert not site.manager.keys()
    assert request.headers == [("Vary", "Cookie")]


def test_the_first_information_brings_record_cookie_and_no_store(site: Site) -> None:
    request = site.visit(put("a"))
    assert request.sent["session2"][1] == {"path": "/", "httponly": True, "samesite": "Lax"}
    assert ("Cache-Control", "no-store") in request.headers
    assert site.manager.load(site.id)["a"] == 1
    assert site.manager.load(site.id).get_remote_address() == "192.0.2.1"


def test_a_request_that_changes_nothing_tells_the_browser_nothing(site: Site) -> None:
    site.visit(put("a"))
    request = site.visit()
    assert not request.sent
    assert request.headers == [("Vary", "Cookie")]


def test_a_failed_request_leaves_no_trace(site: Site) -> None:
    site.visit(put("a"))
    request = site.start()
    put("a", 2)(request.session)
    site.manager.expire_session(request)
    site.manager.finish_failed_request(request)
    assert not request.sent
    assert site.manager.load(site.id)["a"] == 1


def test_logout_ends_the_session_and_the_cookie_with_equal_attributes() -> None:
    site = Site(cookie=CookiePolicy("sid", path="/x", domain="example.org", secure=True, samesite="Strict"))
    given = site.visit(put("a")).sent["sid"]
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    site.finish(request)
    assert request.sent["sid"] == ("", {**given[1], "max_age": 0})
    assert site.manager.load(given[0]) is None


def test_logout_twice_and_logout_then_login_in_one_request(site: Site) -> None:
    site.visit(login("joe"))
    old = site.id
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    site.manager.expire_session(request)
    login("ann")(request.session)
    site.finish(request)
    assert site.manager.load(old) is None
    assert site.manager.load(site.id).user == "ann"


def test_what_begins_at_a_logout_knows_where_it_came_from(site: Site) -> None:
    site.visit(put("a"))
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    assert request.session.get_remote_address() == request.remote_address


def test_a_logout_of_nobody_leaves_no_record(site: Site) -> None:
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    site.finish(request)
    assert not request.sent
    assert not list(site.store.scan())


def test_a_session_that_has_nothing_left_is_ended(site: Site) -> None:
    site.visit(put("a"))
    old = site.id
    request = site.visit(lambda session: session.clear())
    assert request.sent["session2"][0] == ""
    assert site.manager.load(old) is None


def test_login_gives_a_new_id_and_the_old_one_is_dead(site: Site) -> None:
    site.visit(put("basket", ["book"]))
    old = site.id
    site.visit(login("joe"))
    assert site.id != old
    assert site.manager.load(old) is None
    assert site.manager.load(site.id)["basket"] == ["book"]


def test_a_change_of_user_rotates_too(site: Site) -> None:
    ids = []
    for user in ("joe", "ann", None):
        site.visit(lambda session, user=user: session.update(x=1) or session.set_user(user))
        ids.append(site.id)
    assert len(set(ids)) == 3
    assert [site.manager.load(id) is None for id in ids] == [True, True, False]


def test_a_user_known_by_something_else_than_user_gets_a_new_id_too() -> None:
    class Named(DictSession):
        def user_key(self) -> str | None:
            return self.get("name")

    site = Site()
    site.manager.session_class = Named
    site.visit(put("a"))
    old = site.id
    site.visit(put("name", "joe"))
    assert site.id != old
    assert site.manager.load(old) is None


def test_an_application_may_ask_for_a_new_id(site: Site) -> None:
    site.visit(put("a"))
    old = site.id

    def forget_id(session: Any) -> None:
        session.id = None

    site.visit(forget_id)
    assert site.id != old
    assert site.manager.load(old) is None
    assert site.manager.load(site.id)["a"] == 1


def test_a_request_under_way_at_login_does_not_take_the_new_cookie_away(site: Site) -> None:
    site.visit(put("a"))
    slow = site.start()
    put("b")(slow.session)
    site.visit(login("joe"))
    site.finish(slow)
    assert not slow.sent
    assert "b" not in site.manager.load(site.id)


def test_a_request_that_arrives_after_the_login_does_not_either(site: Site) -> None:
    site.visit(put("a"))
    old = dict(site.cookies)
    site.visit(login("joe"))
    late = site.start(dict(old))
    put("b")(late.session)
    assert not site.finish(late).sent
    again = site.start(dict(old))
    login("joe")(again.session)
    assert site.finish(again).sent, "who logs in once more, because the answer was lost, is let in"
    site.clock.now += 61
    late = site.start(dict(old))
    put("b")(late.session)
    assert site.finish(late).sent


def test_a_logout_is_not_undone_by_a_slow_request(site: Site) -> None:
    site.visit(login("joe"))
    slow, old = site.start(), site.id
    put("b")(slow.session)
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    site.finish(request)
    site.finish(slow)
    assert not slow.sent, "the browser may have logged in again meanwhile"
    assert site.manager.load(old) is None
    assert not site.manager.keys()


def test_overlapping_requests_lose_nothing(site: Site) -> None:
    site.visit(put("start"))
    requests = [site.start() for _ in range(5)]
    for number, request in enumerate(requests):
        put(f"k{number}", number)(request.session)
    for request in requests:
        site.finish(request)
    assert dict(site.manager.load(site.id)) == {"start": 1, **{f"k{n}": n for n in range(5)}}


def test_a_renewed_session_serves_requests_under_way_and_lost_answers() -> None:
    site = Site(renew_after=1000, renew_grace=60)
    site.visit(put("a"))
    old = site.id
    slow = site.start()
    site.clock.now += 1001
    site.visit()
    assert site.id != old
    put("late")(slow.session)
    site.finish(slow)
    assert site.manager.load(site.id)["late"] == 1
    assert site.start({"session2": old}).session["a"] == 1
    late = site.finish(site.start({"session2": old}))
    assert late.sent["session2"][0] == site.id
    site.clock.now += 61
    assert site.manager.load(old) is None
    assert site.manager.load(site.id) is not None


def test_an_alias_is_dead_at_logout_at_once() -> None:
    site = Site(renew_after=1000)
    site.visit(put("a"))
    old = site.id
    site.clock.now += 1001
    site.visit()
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    site.finish(request)
    assert site.manager.load(old) is None


def test_the_idle_clock_moves_at_most_once_per_interval() -> None:
    site = Site(idle_timeout=1000, touch_interval=100)
    site.visit(put("a"))
    writes = []
    touch = site.store.touch
    site.store.touch = lambda *args: (writes.append(args), touch(*args))  # type: ignore[method-assign, assignment]
    for _ in range(100):
        site.clock.now += 10
        site.visit()
    assert len(writes) == 10
    site.clock.now += 999
    assert site.manager.load(site.id) is not None
    site.clock.now += 2
    assert site.manager.load(site.id) is None


def test_the_absolute_clock_ends_a_busy_session() -> None:
    site = Site(idle_timeout=1000, lifetime=3000, touch_interval=0)
    site.visit(put("n", 0))
    for n in range(29):
        site.clock.now += 100
        site.visit(put("n", n))
    site.clock.now += 101
    assert site.manager.load(site.id) is None


def test_the_manager_judges_by_its_own_clocks_too() -> None:
    site = Site(idle_timeout=None, lifetime=None)
    site.visit(put("a"))
    strict: SessionManager[Any] = SessionManager(site.store, DictSession, idle_timeout=timedelta(minutes=5))
    site.clock.now += 301
    assert site.manager.load(site.id) is not None
    assert strict.load(site.id) is None
    site.clock.now -= 1
    assert strict.load(site.id) is None, "its last second is over"
    site.clock.now -= 1
    assert strict.load(site.id) is not None


@pytest.mark.parametrize("wrong", [
    {"idle": 0}, {"idle": -1.0}, {"lifetime": 0}, {"lifetime": math.nan}, {"renewal": 0}, {"renewal": math.inf},
    {"grace": 0}, {"touch": -1}, {"touch": math.nan}, {"idle": 100, "touch": 100}])
def test_clocks_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        replace(Clocks(), **wrong)


def test_a_tenth_of_the_idle_timeout_passes_between_two_touches_and_five_minutes_at_most() -> None:
    assert [Clocks(idle=idle).touch_interval for idle in (100, 2999, 3001, None)] == [10, 299.9, 300, 300]
    assert Clocks(idle=100, touch=0).touch_interval == 0


def test_a_persistent_cookie_is_sent_again_when_the_clock_moves() -> None:
    site = Site(cookie=CookiePolicy(max_age=1000), touch_interval=100)
    assert site.visit(put("a")).sent["session2"][1]["max_age"] == 1000
    site.clock.now += 50
    assert not site.visit().sent
    site.clock.now += 60
    assert site.visit().sent["session2"][1]["max_age"] == 1000


def test_strict_reports_a_conflict() -> None:
    site = Site(concurrency="strict")
    site.visit(put("a"))
    first, second = site.start(), site.start()
    put("a", 2)(first.session)
    put("b", 2)(second.session)
    site.finish(first)
    with pytest.raises(SessionConflict):
        site.finish(second)
    assert dict(site.manager.load(site.id)) == {"a": 2}


def test_outside_of_requests_the_mode_of_the_manager_counts_too() -> None:
    site = Site(concurrency="strict")
    site.visit(put("a"))
    mine, theirs = site.manager.load(site.id), site.manager.load(site.id)
    for session in (mine, theirs):
        session["b"] = id(session)
    site.manager.save(theirs)
    with pytest.raises(SessionConflict):
        site.manager.save(mine)
    site.manager.save(mine, concurrency="merge")
    assert site.manager.load(site.id)["b"] == id(mine)


@pytest.mark.parametrize("id", ["../../etc/passwd", "", "x" * 44, None])
@pytest.mark.parametrize("hash_ids", [True, False])
def test_what_was_never_stored_cannot_be_locked(site: Site, hash_ids: bool, id: str | None) -> None:
    site.store.hash_ids = hash_ids
    with pytest.raises(ConfigurationError, match="never stored"):
        site.manager.lock(site.manager.new_session() if id is None else id)


def test_read_only_reads_and_refuses_changes(site: Site) -> None:
    site.visit(put("a"))
    site.clock.now += 10_000
    version = site.manager.load(site.id).origin.record
    site.visit(concurrency="read-only")
    assert site.manager.load(site.id).origin.record == version
    with pytest.raises(ReadOnlySession):
        site.visit(put("a", 2), concurrency="read-only")
    assert site.manager.load(site.id)["a"] == 1
    site.cookies = {}
    with pytest.raises(ReadOnlySession):
        site.visit(put("a"), concurrency="read-only")
    assert len(list(site.store.scan())) == 1


def test_a_read_only_request_may_log_out_nobody(site: Site) -> None:
    request = site.start(concurrency="read-only")
    site.manager.expire_session(request)
    assert not site.finish(request).sent


def test_the_mode_may_be_chosen_per_request() -> None:
    site = Site(concurrency=lambda exchange: "read-only" if exchange.cookies else "merge")
    site.visit(put("a"))
    with pytest.raises(ReadOnlySession):
        site.visit(put("a", 2))


@pytest.mark.parametrize("calls", ["sff", "ssf", "f", "e", "se", "sfe", "sef", "fs", "ee", "sse"])
def test_unbalanced_and_repeated_calls_are_harmless(calls: str) -> None:
    site = Site(concurrency="lock")
    site.visit(put("a"))
    request = FakeExchange(dict(site.cookies))
    steps = {"s": site.manager.start_request, "f": site.manager.finish_successful_request,
             "e": site.manager.finish_failed_request}
    for call in calls:
        steps[call](request)
    site.manager.finish_failed_request(request)
    with site.manager.lock(site.id):
        assert site.manager.load(site.id)["a"] == 1


@pytest.mark.parametrize("is_given", [True, False])
def test_each_call_is_about_the_request_given_or_else_about_that_which_quixote_serves(
        site: Site, is_given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site.visit(put("a"))
    old, request = site.id, FakeExchange(site.cookies)
    if not is_given:
        monkeypatch.setattr("session2.manager.in_progress", lambda: request)
    the = {"exchange": request} if is_given else {}
    manager = site.manager
    assert manager.has_session_cookie(**the)
    assert manager.has_session_cookie(must_exist=True, **the)
    manager.start_request(**the)
    manager.lock_request(**the)
    assert is_locked(site.store, request.session.key)
    manager.renew_lock(**the)
    manager.unlock_request(**the)
    assert not is_locked(site.store, request.session.key)
    manager.expire_session(**the)
    assert manager.get_session(**the) is request.session
    manager.settle_request(**the)
    assert manager.load(old) is None
    request.session["a"] = 1
    manager.maintain_session(request.session, **the)
    assert request.cookie_sent == request.session.id
    manager.start_request(**the)
    request.session["b"] = 1
    manager.finish_failed_request(**the)
    assert list(manager.load(request.session.id)) == ["a"]
    manager.start_request(**the)
    manager.revoke_session_cookie(**the)
    assert request.cookie_sent == ""
    manager.set_session_cookie(old, **the)
    assert manager.has_session_cookie(**the)
    assert not manager.has_session_cookie(must_exist=True, **the)
    request.session["a"] = 2
    manager.finish_successful_request(**the)
    assert manager.load(request.session.id)["a"] == 2


def test_to_ask_for_a_cookie_of_a_session_that_exists_asks_no_store_for_what_is_no_id(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.store, "read", unavailable)
    assert not site.manager.has_session_cookie(must_exist=True, exchange=FakeExchange({"session2": "../../etc"}))


def test_two_managers_with_two_cookies_do_not_meet() -> None:
    one, two = Site(cookie=CookiePolicy("one")), Site(cookie=CookiePolicy("two"))
    two.cookies = one.cookies
    one.visit(put("a", 1))
    two.visit(put("a", 2))
    assert one.manager.load(one.cookies["one"])["a"] == 1
    assert two.manager.load(two.cookies["two"])["a"] == 2


def test_the_mapping_view_knows_ids_and_keys(site: Site) -> None:
    site.visit(put("a"))
    manager, key = site.manager, site.manager.keys()[0]
    assert manager[site.id]["a"] == manager[key]["a"] == 1
    assert site.id in manager
    assert key in manager
    assert "nobody" not in manager
    assert 5 not in manager
    assert manager.get("nobody", "default") == "default"
    assert [session.key for session in manager] == manager.sorted_keys() == [key]
    assert [found for found, _ in manager.items()] == [key]
    with pytest.raises(KeyError):
        manager["nobody"]
    session = manager[key]
    session["a"] = 5
    manager[key] = session
    assert manager[site.id]["a"] == 5
    del manager[key]
    assert not manager.values()


def test_the_key_of_a_session_is_no_cookie(site: Site) -> None:
    site.visit(put("a"))
    key = site.manager.keys()[0]
    assert not site.manager.has_session(key)
    assert "a" not in site.start({"session2": key}).session


def test_sessions_of_a_user_can_be_listed_and_revoked(site: Site) -> None:
    browsers: list[Cookies] = [{}, {}, {}]
    for cookies in browsers:
        site.cookies = cookies
        site.visit(login("joe"))
    site.cookies = {}
    site.visit(login("ann"))
    sessions = list(site.manager.sessions_of("joe"))
    assert len(sessions) == 3
    assert site.manager.revoke_user("joe", except_=sessions[0]) == 2
    assert [session.key for session in site.manager.sessions_of("joe")] == [sessions[0].key]
    assert site.manager.load(site.id).user == "ann"
    site.cookies = {}
    site.visit(put("a"))
    assert list(site.manager.sessions_of(None)) == []
    assert site.manager.revoke_user(None) == 0
    assert site.manager.load(site.id) is not None


def test_a_user_has_no_more_sessions_than_allowed() -> None:
    site = Site(max_sessions=2)
    browsers: list[Cookies] = [{}, {}, {}]
    for cookies in browsers:
        site.clock.now += 1
        site.cookies = cookies
        site.visit(login("joe"))
    alive = [site.manager.load(cookies["session2"]) is not None for cookies in browsers]
    assert alive == [False, True, True]
    site.cookies = {}
    site.visit(put("anonymous"))
    site.clock.now += 1
    site.visit(login("joe"))
    assert [site.manager.load(cookies["session2"]) is not None for cookies in browsers] == [False, False, True]
    assert site.manager.load(site.id).user == "joe"


def test_sites_may_clear_what_the_browser_keeps(site: Site) -> None:
    site.visit(login("joe"))
    request = site.start(site.cookies)
    site.manager.expire_session(request, clear_site_data=True)
    assert not [name for name, _ in request.headers if name == "Clear-Site-Data"], "the logout may still fail"
    site.finish(request)
    assert ("Clear-Site-Data", '"cache", "cookies", "storage"') in request.headers


def test_a_long_request_may_renew_its_lock() -> None:
    site = Site(concurrency="lock", lock_lease=10, lock_timeout=0)
    site.visit(put("n", 0))
    slow = site.start()
    site.clock.now += 9
    site.manager.renew_lock(slow)
    site.clock.now += 9
    with pytest.raises(LockTimeout):
        site.start()
    put("n", 1)(slow.session)
    site.finish(slow)
    assert site.manager.load(site.id)["n"] == 1


def test_who_lost_the_lease_cannot_write() -> None:
    site = Site(concurrency="lock", lock_lease=10, lock_timeout=0)
    site.visit(put("n", 0))
    stale = site.start()
    site.clock.now += 11
    fresh = site.start()
    put("n", "stale")(stale.session)
    with pytest.raises(LockLost):
        site.finish(stale)
    put("n", "fresh")(fresh.session)
    site.finish(fresh)
    assert site.manager.load(site.id)["n"] == "fresh"


def test_a_session_met_by_iteration_is_saved_in_its_place(site: Site) -> None:
    site.visit(put("a"))
    session = next(iter(site.manager))
    session["b"] = 2
    site.manager.save(session)
    assert dict(site.manager.load(site.id)) == {"a": 1, "b": 2}
    assert len(site.manager.keys()) == 1


def test_an_id_can_be_had_early(site: Site) -> None:
    request = site.start(site.cookies)
    put("a")(request.session)
    site.manager.maintain_session(request.session, request)
    assert site.manager.load(request.session.id)["a"] == 1
    put("b")(request.session)
    site.finish(request)
    assert dict(site.manager.load(site.id)) == {"a": 1, "b": 1}


def test_a_request_that_is_over_stores_nothing_any_more(site: Site) -> None:
    request = site.start({})
    put("a")(request.session)
    site.manager.finish_failed_request(request)
    site.manager.maintain_session(request.session, request)
    assert not request.sent
    assert not site.manager.keys()


def test_a_posted_csrf_token_is_checked(site: Site) -> None:
    site.visit(put("token"))
    site.visit(lambda session: session.get_csrf_token())
    token = site.manager.load(site.id).get_csrf_token()
    for form, valid in (({"csrf_token": token}, True), ({"csrf_token": "x" + token}, False),
                        ({"csrf_token": "\udc80"}, False), ({}, False)):
        request = FakeExchange(dict(site.cookies), form=form)
        site.manager.start_request(request)
        assert request.session.valid_csrf_token() is valid


@pytest.mark.parametrize("options", [
    {"idle_timeout": 0}, {"idle_timeout": -1}, {"lifetime": timedelta(0)}, {"concurrency": "maybe"},
    {"renew_after": -5}, {"lock_lease": 0}, {"lock_lease": None}, {"lock_timeout": None},
    {"lock_timeout": float("inf")}, {"idle_timeout": float("inf")}, {"lifetime": float("nan")},
    {"idle_timeout": "an hour"}, {"idle_timeout": 100, "touch_interval": 100}, {"max_sessions": 0},
])
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Site(**options)


def test_what_is_no_store_is_refused_and_not_shown() -> None:
    url: Any = "redis://:secret@localhost/0"
    with pytest.raises(ConfigurationError, match=r"store must be a SessionStore, such as from_url\(URL\), not a str$"):
        SessionManager(url)


def test_what_is_no_cookie_policy_is_refused() -> None:
    name: Any = "shop"
    with pytest.raises(ConfigurationError, match=r"cookie must be a CookiePolicy, .* not a str$"):
        SessionManager(VolatileSessionStore(), cookie=name)


def test_an_unknown_mode_is_refused_wherever_it_is_given(site: Site) -> None:
    site.visit(put("a"))
    session = site.manager.load(site.id)
    with pytest.raises(ConfigurationError):
        site.manager.save(session, "Strict")
    with pytest.raises(ConfigurationError):
        site.start(concurrency="Strict")


def test_to_empty_a_session_loses_nothing_that_others_stored(site: Site) -> None:
    site.visit(put("a"))
    slow = site.start()
    slow.session.clear()
    site.visit(put("b"))
    site.finish(slow)
    assert dict(site.manager.load(site.id)) == {"b": 1}


def test_who_empties_a_session_does_not_take_the_cookie_of_a_login_away(site: Site) -> None:
    site.visit(put("a"))
    slow = site.start()
    slow.session.clear()
    site.visit(login("joe"))
    assert not site.finish(slow).sent
    assert site.manager.load(site.id).user == "joe"


def test_strict_does_not_end_what_others_changed() -> None:
    site = Site(concurrency="strict")
    site.visit(put("a"))
    slow = site.start()
    slow.session.clear()
    site.visit(put("b"))
    with pytest.raises(SessionConflict):
        site.finish(slow)
    assert dict(site.manager.load(site.id)) == {"a": 1, "b": 1}


def test_read_only_ends_nothing(site: Site) -> None:
    site.visit(put("a"))
    with pytest.raises(ReadOnlySession):
        site.visit(lambda session: session.clear(), concurrency="read-only")
    for late in (False, True):
        request = site.start(concurrency="read-only")
        site.manager.expire_session(request)
        with pytest.raises(ReadOnlySession):
            site.manager.settle_request(request, headers_sent=late)
        assert not request.sent
    assert site.manager.load(site.id)["a"] == 1


def test_a_manager_of_another_class_leaves_alone_what_it_does_not_know(site: Site) -> None:
    site.visit(put("a"))
    other = SessionManager(site.store, Session)
    request = FakeExchange(dict(site.cookies))
    other.start_request(request)
    other.finish_successful_request(request)
    assert not request.sent
    assert site.manager.load(site.id)["a"] == 1


def test_strict_reports_a_conflict_at_a_login_too() -> None:
    site = Site(concurrency="strict")
    site.visit(put("a"))
    slow = site.start()
    login("joe")(slow.session)
    site.visit(put("a", 2))
    with pytest.raises(SessionConflict):
        site.finish(slow)
    assert [dict(session) for session in site.manager] == [{"a": 2}]


def test_strict_reports_a_conflict_at_a_renewal_only_if_there_is_one() -> None:
    site = Site(concurrency="strict", renew_after=1000)
    site.visit(put("a"))
    site.clock.now += 1001
    first, second, third = site.start(), site.start(), site.start()
    put("a", 2)(third.session)
    site.finish(first)
    site.finish(second)
    with pytest.raises(SessionConflict):
        site.finish(third)


def test_who_lost_the_lease_cannot_log_in() -> None:
    site = Site(concurrency="lock", lock_lease=10, lock_timeout=0)
    site.visit(put("a"))
    stale = site.start()
    site.clock.now += 11
    site.start()
    login("joe")(stale.session)
    with pytest.raises(LockLost):
        site.finish(stale)
    assert not list(site.manager.sessions_of("joe"))


def test_who_lost_the_lease_to_what_is_no_request_cannot_write_either() -> None:
    site = Site(concurrency="lock", lock_lease=10)
    site.visit(put("n", 0))
    stale = site.start()
    put("n", "stale")(stale.session)
    site.clock.now += 11
    with site.manager.lock(site.id), pytest.raises(LockLost):
        site.finish(stale)


@pytest.mark.parametrize("kind", ["record", "host"])
@pytest.mark.parametrize("step", ["find", "fence"])
def test_who_lost_the_lease_cannot_write_when_the_takeover_failed(
        kind: str, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_lease=10)
    if kind == "record":
        site.store._locks = None
    site.visit(put("n", 0))
    stale = site.start()
    put("n", "stale")(stale.session)
    site.clock.now += 11
    lock = site.store.lock

    def down(*_: Any) -> None:
        raise StoreUnavailable

    def goes_down(*args: Any, **options: Any) -> Any:
        lease = lock(*args, **options)
        patch.setattr(site.store.sessions if step == "find" else site.store.sessions.locking, step, down)
        return lease

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "lock", goes_down)
        with pytest.raises(StoreUnavailable):
            site.start()
    site.clock.now += 11
    site.start()
    with pytest.raises(LockLost):
        site.finish(stale)


def test_a_lock_that_was_released_cannot_be_renewed(site: Site) -> None:
    site.visit(put("a"))
    lease = site.manager.lock(site.id)
    lease.release()
    with pytest.raises(LockLost):
        lease.renew()
    assert len(list(site.store.scan())) == 1


def test_a_user_that_cannot_be_pickled_is_named(site: Site) -> None:
    with pytest.raises(SerializationError, match="'user'"):
        site.visit(login(lambda: 0))


def test_a_user_that_is_stored_in_another_shape_is_no_other_user(site: Site) -> None:
    site.store.serializer = JSONSerializer()
    role = "one object, pickled once"
    site.visit(login({"roles": [role, role], "rights": [1, 2]}))
    old = site.id
    site.visit(put("a"))
    assert site.id == old


def test_an_id_had_early_does_not_take_the_cookie_of_a_login_away(site: Site) -> None:
    site.visit(put("a"))
    late = dict(site.cookies)
    site.visit(login("joe"))
    request = site.start(late)
    put("b")(request.session)
    site.manager.maintain_session(request.session, request)
    assert not site.finish(request).sent


def test_a_session_begun_and_ended_in_one_request_leaves_no_cookie(site: Site) -> None:
    request = site.start({})
    put("a")(request.session)
    site.manager.settle_request(request)
    site.manager.expire_session(request)
    site.finish(request)
    assert request.sent["session2"][0] == ""


def test_requests_under_way_at_logout_and_login_in_one_leave_the_new_cookie_alone(site: Site) -> None:
    site.visit(login("joe"))
    old = dict(site.cookies)
    slow = site.start()
    put("a")(slow.session)
    request = site.start(site.cookies)
    site.manager.expire_session(request)
    login("ann")(request.session)
    site.finish(request)
    late = site.start(dict(old))
    put("b")(late.session)
    assert not site.finish(slow).sent
    assert not site.finish(late).sent
    assert site.manager.load(old["session2"]) is None
    assert [session.user for session in site.manager] == ["ann"]


def test_a_logout_is_not_half_done(site: Site) -> None:
    site.visit(login("joe"))
    request = site.start()
    site.manager.expire_session(request)
    put("a", lambda: 0)(request.session)
    with pytest.raises(SerializationError):
        site.finish(request)
    assert site.manager.load(site.id).user == "joe"


class Refused(Exception):
    """Can be pickled, and not be unpickled, as many exceptions with arguments of their own."""

    def __init__(self, form: str, field: str) -> None:
        super().__init__(f"{form}: {field}")


@pytest.mark.parametrize("serializer", [PickleSerializer(), Signed(PickleSerializer(), "x" * 32)])
@pytest.mark.parametrize("logout", [False, True])
def test_a_value_that_could_not_be_read_again_costs_nobody_the_session(
        site: Site, serializer: Serializer, logout: bool) -> None:
    site.store.serializer, value = serializer, Refused("order", "name")
    site.visit(lambda session: session.update(a=1) or session.set_user("joe"))
    request = site.start()
    if logout:
        site.manager.expire_session(request)
    put("fine")(request.session)
    put("bad", value)(request.session)
    with pytest.raises(SerializationError, match="'bad' could not be read again") as caught:
        site.finish(request)
    assert caught.value.where == "'bad'"
    assert dict(site.manager.load(site.id)) == {"a": 1}
    with pytest.raises(SerializationError, match="could not be read again"):
        site.visit(lambda session: put("bad", value)(session) or session.set_user("ann"))
    assert site.manager.load(site.id).user == "joe"


@pytest.mark.parametrize(("nest", "depth"), [(lambda value: {"in": value}, 400), (lambda value: [value], 600)])
def test_a_value_too_deep_to_be_merged_is_named_and_nothing_is_lost(site: Site, nest: Any, depth: int) -> None:
    site.store.serializer = JSONSerializer()
    value: Any = 1
    for _ in range(depth):
        value = nest(value)
    site.visit(put("deep", value))
    slow = site.start()
    put("b")(slow.session)
    site.visit(put("c"))
    with pytest.raises(SerializationError, match="'deep' is nested too deeply") as caught:
        site.finish(slow)
    assert caught.value.where == "'deep'"
    assert set(site.manager.load(site.id)) == {"deep", "c"}
    site.visit(put("deep", "flat"))
    assert set(site.manager.load(site.id)) == {"deep", "c"}


def test_a_value_too_deep_to_be_compared_is_named(site: Site) -> None:
    site.store.serializer = JSONSerializer()
    deep: Any = 1
    for _ in range(600):
        deep = [deep]
    site.visit(put("deep", [deep, 1]))
    with pytest.raises(SerializationError, match="'deep' is nested too deeply"):
        site.visit(put("deep", [deep, 2]))


def test_a_new_session_has_its_end_wherever_it_is_stored(site: Site) -> None:
    session = site.manager.new_session(tokens.new_id())
    session["a"] = 1
    site.manager[str(session.id)] = session
    site.clock.now += 15 * 86400
    assert site.store.purge() == 1


def test_a_late_logout_of_nobody_is_no_event(site: Site) -> None:
    events: list[Any] = []
    site.store.observer = events.append
    request = site.start({})
    site.manager.expire_session(request)
    site.manager.settle_request(request, headers_sent=True)
    assert not events


def test_a_lock_whose_renewal_was_never_confirmed_is_released_later_if_the_store_fails_again(
        site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.store._locks = None
    site.visit(put("a"))
    lease = site.manager.lock(site.id)
    renewed_elsewhere = site.store.read(traces.lock_key(lease.key))
    assert renewed_elsewhere is not None
    site.store.write(traces.lock_key(lease.key), renewed_elsewhere, renewed_elsewhere.version)
    with monkeypatch.context() as patch:
        patch.setattr(site.store, "read", unavailable)
        lease.release()
    site.manager.lock_timeout = 0
    site.visit(put("a", 2))
    with site.manager.lock(site.id):
        pass


def test_a_lock_of_the_dead_whose_clock_was_ahead_is_free_after_its_lease() -> None:
    ahead, here = VolatileSessionStore(), VolatileSessionStore()
    ahead._locks = here._locks = None
    ahead._records = here._records
    ahead.clock = lambda: here.clock() + 7200
    dead = ahead.lock("0" * 64, lease=0.05)
    with pytest.raises(LockTimeout):
        here.lock("0" * 64, timeout=0)
    with here.lock("0" * 64, timeout=5) as lease:
        assert lease.taken_over
        assert not dead.is_held()


@pytest.mark.parametrize(("name", "emptied"), [
    *product([b"\xff\xfe", b"../../etc", b"a" * 200], [True, False]), (None, False), (5, False)])
def test_a_lock_name_that_is_none_spoils_neither_the_session_nor_the_locks_of_others(
        site: Site, name: Any, emptied: bool) -> None:
    site.visit(put("a"))
    key = tokens.hash_id(site.id)
    record = site.store.read(key)
    assert record is not None
    state = {"_lock_name": name.decode("latin-1") if isinstance(name, bytes) else name, "data": {"a": 1}}
    data = b"s2 trace emptied\n" + name if emptied else site.store.serializer.seal(pickle.dumps(state), key)
    site.store.write(key, record._replace(data=data), record.version)
    site.visit(put("a"), concurrency="lock")
    with site.manager.lock(site.id):
        pass
    with pytest.raises(ConfigurationError):
        site.store.lock("../x")
    assert not site.store.queues.left


def test_locks_that_were_left_may_be_released_by_others_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    store, remove, others = VolatileSessionStore(), Left.remove, iter([True])
    store.queues.left.extend(Left(traces.lock_key(letter * 64), b"owner") for letter in "ab")

    def others_first(left: Left, of: Any) -> None:
        if next(others, False):
            store.queues.clear_left(store)
        remove(left, of)

    monkeypatch.setattr(Left, "remove", others_first)
    store.queues.clear_left(store)
    assert not store.queues.left
