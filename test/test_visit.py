"""Requests that overlap, end half-way, or come late: what stands afterwards, and what the browser is left with."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    JSONSerializer,
    LockTimeout,
    PickleSerializer,
    SessionConflict,
    SessionManager,
    StoreUnavailable,
    merge,
    tokens,
)
from session2.errors import Conflict, LockLost, ReadOnlySession
from session2.events import Event
from session2.found import Absence
from session2.record import Record
from session2.sessions import PROVISIONAL
from session2.store.directory import DirectorySessionStore
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange
from session2.testing.store.visitor import is_locked
from session2.traces import is_lock, is_session

Cookies = dict[str, str]
Page = Callable[[Any], object]


class Visits(DictSession):
    merge_rules = {"visits": merge.add}


class Site:
    """A manager over a store that can be told to fail, and one browser."""

    def __init__(self, **options: Any) -> None:
        self.now = 1.8e9
        self.heard: list[Event] = []
        self.store = VolatileSessionStore(clock=lambda: self.now, observer=self.heard.append)
        self.manager: SessionManager[Any] = SessionManager(self.store, Visits, **options)
        self.cookies: Cookies = {}

    def start(self, page: Page = lambda session: None, cookies: Cookies | None = None, **options: Any) -> FakeExchange:
        request = FakeExchange(dict(self.cookies) if cookies is None else cookies)
        self.manager.start_request(request, **options)
        page(request.session)
        return request

    def finish(self, request: FakeExchange) -> FakeExchange:
        self.manager.finish_successful_request(request)
        if request.sent:  # the browser takes each answer as it comes
            self.cookies.update({name: value for name, (value, _) in request.sent.items()})
            self.cookies = {name: value for name, value in self.cookies.items() if value}
        return request

    def visit(self, page: Page = lambda session: None, **options: Any) -> FakeExchange:
        return self.finish(self.start(page, **options))

    def log_out(self) -> FakeExchange:
        request = self.start()
        self.manager.expire_session(request)
        return self.finish(request)

    @property
    def id(self) -> str:
        return self.cookies["session2"]

    @property
    def content(self) -> dict[str, Any]:
        return dict(self.manager.load(self.id))

    def sessions(self) -> list[Record]:
        return [record for key, record in self.store.scan() if is_session(key, record)]

    def fail(self, monkeypatch: pytest.MonkeyPatch, name: str, when: Callable[..., bool], done: bool = False) -> None:
        """Have a primitive fail once, with its work done or not."""
        primitive = getattr(self.store, name)

        def failing(*args: Any) -> Any:
            if not when(*args):
                return primitive(*args)
            monkeypatch.undo()
            if done:
                primitive(*args)
            raise StoreUnavailable("the answer was lost" if done else "nothing was done")

        monkeypatch.setattr(self.store, name, failing)


def put(**items: Any) -> Page:
    return lambda session: session.update(items)


def login(user: Any) -> Page:
    return lambda session: session.set_user(user)


# -- emptied ----------------------------------------------------------------------------------------------------------


def test_a_late_change_goes_on_from_what_was_emptied() -> None:
    site = Site()
    site.visit(put(a=1, b=1))
    id, late = site.id, site.start(put(c=1))
    emptied = site.visit(lambda session: session.clear())
    assert emptied.sent["session2"][0] == ""
    assert site.heard[-1].name == "ended"
    assert site.finish(late).sent["session2"][0] == id, "the browser was told to forget it"
    assert site.content == {"c": 1}


def test_the_application_may_store_a_late_change_itself() -> None:
    site = Site()
    site.visit(put(a=1))
    id, late, of_nobody = site.id, site.start(put(b=1)), site.manager.load(site.id)
    site.visit(lambda session: session.clear())
    site.manager.save(late.session)
    assert site.finish(late).sent["session2"][0] == id, "the browser was told to forget it"
    of_nobody["c"] = 1
    site.manager.save(of_nobody)
    assert site.content == {"b": 1, "c": 1}
    of_nobody, id = site.manager.load(site.id), site.id
    site.visit(lambda session: session.clear())
    of_nobody["d"] = 1
    site.manager.save(of_nobody)
    assert dict(site.manager.load(id)) == {"d": 1}


def test_what_was_emptied_keeps_its_lock() -> None:
    site = Site(renew_after=1000, lock_timeout=0)
    site.visit(put(a=1))
    site.now += 1001
    site.visit()
    cookies = dict(site.cookies)
    holder = site.start(concurrency="lock")
    site.visit(lambda session: session.clear())
    with pytest.raises(LockTimeout):
        site.start(cookies=cookies, concurrency="lock")
    site.finish(holder)
    holder = site.start(cookies=cookies, concurrency="lock")
    with pytest.raises(LockTimeout):
        site.start(cookies=cookies, concurrency="lock")
    site.finish(holder)


def test_a_late_look_brings_nothing_back() -> None:
    site = Site()
    site.visit(put(a=1))
    late = site.start()
    site.visit(lambda session: session.clear())
    assert not site.finish(late).sent
    assert not site.sessions()


def test_no_lock_is_kept_of_what_was_emptied_and_vanishes_while_it_is_looked_for(
        monkeypatch: pytest.MonkeyPatch) -> None:
    site, looks = Site(concurrency="lock"), []
    site.visit(put(a=1))
    old, key, find = dict(site.cookies), site.store.sessions.key(site.id), site.manager.find
    site.visit(lambda session: session.clear())

    def vanished(*arguments: Any) -> Any:
        looks.append(arguments)
        if len(looks) == 2:
            site.store.remove(key)
        return find(*arguments)

    monkeypatch.setattr(site.manager, "find", vanished)
    request = site.start(cookies=old)
    assert (len(looks), request.session.key, is_locked(site.store, key)) == (2, None, False)


def test_a_login_from_what_was_emptied_leaves_nothing_for_late_changes() -> None:
    site = Site()
    site.visit(put(a=1))
    late, logging_in = site.start(put(b=1)), site.start(login("joe"))
    site.visit(lambda session: session.clear())
    site.finish(logging_in)
    assert not site.finish(late).sent
    assert [record.user for record in site.sessions()] == ["joe"]
    assert site.manager.load(site.id).user == "joe"


def test_a_logout_of_what_was_emptied_is_final() -> None:
    site = Site()
    site.visit(put(a=1))
    late, out = site.start(put(b=1)), site.start()
    site.visit(lambda session: session.clear())
    site.manager.expire_session(out)
    site.finish(out)
    assert not site.finish(late).sent
    assert not site.sessions()


def test_a_session_is_emptied_also_if_the_answer_of_the_store_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.visit(put(a=1))
    request = site.start(lambda session: session.clear())
    site.fail(monkeypatch, "write", lambda *_: True, done=True)
    assert site.finish(request).sent["session2"][0] == ""
    assert not site.sessions()


def test_two_who_empty_a_session_are_no_conflict() -> None:
    site = Site()
    site.visit(put(a=1))
    late = site.start(lambda session: session.clear())
    site.visit(lambda session: session.clear())
    site.finish(late)
    assert not site.sessions()


def renewed() -> tuple[Site, Cookies]:
    """Return a site whose visitor has just had a new id, and the cookies he had before."""
    site = Site(renew_after=1000)
    site.visit(put(a=1))
    site.now += 1001
    old = dict(site.cookies)
    site.visit()
    return site, old


# -- cookies of late answers ------------------------------------------------------------------------------------------


def test_a_late_answer_leaves_the_cookie_of_a_newer_login_alone() -> None:
    site = Site()
    site.visit(login("joe"))
    slow = site.start(put(a=1))
    site.log_out()
    site.visit(login("ann"))
    assert not site.finish(slow).sent
    assert site.manager.load(site.id).user == "ann"


def test_a_session_stored_in_mid_request_leaves_the_cookie_of_a_newer_login_alone() -> None:
    site = Site(renew_after=1000)
    site.visit(put(a=1))
    site.now += 1001
    renewed_meanwhile = site.start(put(b=1))
    site.visit()
    site.finish(site.start(cookies=dict(renewed_meanwhile.cookies)))
    site.manager.maintain_session(renewed_meanwhile.session, renewed_meanwhile)
    site.visit(login("joe"))
    assert not site.finish(renewed_meanwhile).sent


def test_a_look_in_the_grace_of_a_renewal_leaves_the_cookie_of_the_next_renewal_alone() -> None:
    site, old = renewed()
    look = site.start(cookies=old)
    site.visit(lambda session: site.manager.rotate(session, grace=60))
    assert not site.finish(look).sent


def test_a_late_change_after_a_renewal_and_a_logout_sends_no_dead_cookie() -> None:
    site, old = renewed()
    late = site.start(put(b=1), cookies=old)
    site.log_out()
    assert not site.finish(late).sent


def test_what_was_over_for_one_manager_leaves_the_cookie_of_a_login_by_another_alone() -> None:
    site = Site(idle_timeout=1000)
    site.visit(put(a=1))
    hasty: SessionManager[Any] = SessionManager(site.store, Visits, idle_timeout=100)
    site.now += 500
    late = FakeExchange(dict(site.cookies))
    hasty.start_request(late)
    site.visit(login("joe"))
    late.session["b"] = 1
    hasty.finish_successful_request(late)
    assert not late.sent


def test_in_the_grace_of_a_renewal_a_store_that_fails_leaves_the_cookie_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    site, old = renewed()
    late = site.start(cookies=old)
    site.fail(monkeypatch, "read", lambda *_: True)
    assert not site.finish(late).sent


def test_an_anonymous_request_that_outlasts_the_trace_of_a_login_begins_nothing() -> None:
    site = Site()
    site.visit(put(a=1))
    old = dict(site.cookies)
    site.visit(login("joe"))
    slow = site.start(put(b=1), cookies=old)
    site.now += 100
    assert not site.finish(slow).sent


def test_a_slow_logout_does_not_end_the_login_that_overtook_it() -> None:
    site = Site()
    site.visit(put(a=1))
    slow = site.start()
    site.visit(login("joe"))
    site.manager.expire_session(slow)
    assert not site.finish(slow).sent
    assert site.manager.load(site.id).user == "joe"


@pytest.mark.parametrize("mode", ["merge", "read-only"])
@pytest.mark.parametrize("meanwhile", ["login", "logout"])
def test_a_look_sends_no_cookie_again_that_is_dead_by_now(meanwhile: str, mode: str) -> None:
    site = Site(cookie=CookiePolicy(max_age=1000), touch_interval=10)
    site.visit(put(a=1))
    site.now += 20
    look = site.start(concurrency=mode)
    if meanwhile == "login":
        site.visit(login("joe"))
    else:
        site.log_out()
    assert not site.finish(look).sent


# -- half done --------------------------------------------------------------------------------------------------------


def is_trace(key: str, record: Record, expected: Any) -> bool:
    return record.data.startswith(b"s2 trace")


def is_new(key: str, record: Record, expected: Any) -> bool:
    return expected is None and not key.startswith("lock-")


@pytest.mark.parametrize("when", [is_trace, is_new])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("how", ["login", "logout and login", "first login"])
def test_a_login_is_done_or_not(how: str, when: Callable[..., bool], done: bool,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(max_sessions=3)
    if how != "first login":
        site.visit(put(a=1))
    before = dict(site.cookies)
    request = site.start()
    if how == "logout and login":
        site.manager.expire_session(request)
    login("joe")(request.session)
    site.fail(monkeypatch, "write", when, done)
    try:
        site.finish(request)
    except StoreUnavailable:
        assert not request.sent
        assert site.cookies == before
        assert not list(site.manager.sessions_of("joe")), "who logs in is not counted for a login that failed"
        assert len(site.sessions()) == len(before)
    else:
        assert site.manager.load(site.id).user == "joe"
        assert len(site.sessions()) == 1


def test_what_an_interrupted_login_leaves_is_gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.visit(put(a=1))
    request = site.start(login("joe"))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(site.store.sessions.filing, "retire", killed)
    with pytest.raises(KeyboardInterrupt):
        site.finish(request)
    assert site.content == {"a": 1}
    site.now += PROVISIONAL
    assert not list(site.manager.sessions_of("joe"))


def confirms(key: str, record: Record, expected: object) -> bool:
    """Tell of a write whether it is the last of a login or a renewal: the record under the new id is to live on."""
    return expected is not None and not is_trace(key, record, expected)


@pytest.mark.parametrize("options", [{}, {"idle_timeout": None, "lifetime": None}, {"renew_after": 100}])
def test_a_login_whose_record_was_not_confirmed_lives_on_with_the_next_request(
        options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(**options)
    site.visit(put(a=1))
    site.now += 101
    site.fail(monkeypatch, "write", confirms)
    assert site.visit(login("joe") if not options.get("renew_after") else put(b=1)).sent
    assert "until it is used again" in caplog.text
    site.now += PROVISIONAL / 2
    site.visit()
    site.now += PROVISIONAL
    assert site.manager.load(site.id)["a"] == 1


def test_what_nobody_used_of_a_login_that_was_not_confirmed_is_gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.visit(put(a=1))
    site.fail(monkeypatch, "write", confirms)
    site.visit(login("joe"))
    site.now += PROVISIONAL
    assert site.manager.load(site.id) is None


def test_a_renewal_that_was_not_confirmed_and_overtaken_by_a_login_sends_no_dead_cookie(
        monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(renew_after=100)
    site.visit(put(a=1))
    site.now += 101
    renewing, other, write = site.start(put(b=1)), site.start(login("joe")), site.store.write

    def overtaken(key: str, record: Record, expected: Any) -> Any:
        if not confirms(key, record, expected):
            return write(key, record, expected)
        monkeypatch.undo()
        site.finish(other)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(site.store, "write", overtaken)
    assert not site.finish(renewing).sent


@pytest.mark.parametrize("fails", [False, True])
def test_a_renewal_that_others_went_on_from_takes_in_their_changes_or_stands_as_it_is(
        fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(renew_after=100)
    site.visit(put(a=1))
    site.now += 101
    renewing, other, write = site.start(put(b=1)), site.start(put(c=1)), site.store.write

    def overtaken(key: str, record: Record, expected: Any) -> Any:
        if confirms(key, record, expected):
            monkeypatch.undo()
            site.manager.settle_request(other, headers_sent=True)
        try:
            return write(key, record, expected)
        except Conflict:
            if fails:
                site.fail(monkeypatch, "read", lambda *_: True)
            raise

    monkeypatch.setattr(site.store, "write", overtaken)
    site.finish(renewing)
    assert set(renewing.session) == ({"a", "b"} if fails else {"a", "b", "c"})
    assert set(site.content) == {"a", "b", "c"}


def test_a_renewal_whose_session_others_emptied_at_that_moment_sends_no_cookie(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(renew_after=100)
    site.visit(put(a=1))
    site.now += 101
    renewing, other, write = site.start(), site.start(lambda session: session.clear()), site.store.write

    def overtaken(key: str, record: Record, expected: Any) -> Any:
        if confirms(key, record, expected):
            monkeypatch.undo()
            site.manager.settle_request(other, headers_sent=True)
        return write(key, record, expected)

    monkeypatch.setattr(site.store, "write", overtaken)
    assert not site.finish(renewing).sent
    assert not site.sessions()


def test_an_id_that_was_renewed_is_dead_when_somebody_logged_in_at_the_same_moment() -> None:
    site = Site(renew_after=100)
    site.visit(put(a=1))
    site.now += 101
    logging_in, renewing = site.start(login("joe")), site.start(put(b=1))
    site.finish(renewing)
    renewed = site.id
    site.finish(logging_in)
    assert site.manager.load(renewed) is None
    assert site.content == {"a": 1, "b": 1}


@pytest.mark.parametrize("failure", [StoreUnavailable, SessionConflict])
@pytest.mark.parametrize("mode", ["lock", "strict"])
def test_a_renewal_that_fails_loses_no_change_of_a_request_that_merges_nothing(
        mode: str, failure: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(concurrency=mode, renew_after=100)
    site.visit(put(a=1))
    before = dict(site.cookies)
    site.now += 101
    request, write = site.start(put(b=1)), site.store.write

    def inserts_nothing(key: str, record: Record, expected: Any) -> Any:
        if expected is None and not is_lock(key):
            raise failure("not now")
        return write(key, record, expected)

    monkeypatch.setattr(site.store, "write", inserts_nothing)
    assert not site.finish(request).sent
    assert "keeps its id until the next request" in caplog.text
    monkeypatch.undo()
    assert site.content == {"a": 1, "b": 1}
    assert site.manager.load(site.id).get_access_time() == site.now
    site.visit()
    assert site.cookies != before


def test_a_renewal_that_fails_where_changes_are_merged_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(renew_after=100)
    site.visit(put(a=1))
    site.now += 101
    request = site.start(put(b=1))
    site.fail(monkeypatch, "write", lambda key, record, expected: expected is None)
    with pytest.raises(StoreUnavailable):
        site.finish(request)
    assert site.content == {"a": 1}


def test_what_ended_under_a_lock_is_not_renewed() -> None:
    site = Site(concurrency="lock", renew_after=100)
    site.visit(put(a=1))
    site.now += 101
    request = site.start(put(b=1))
    site.manager.delete(site.id)
    assert not site.finish(request).sent
    assert not site.sessions()


@pytest.mark.parametrize("failure", [StoreUnavailable, SessionConflict])
def test_what_fails_after_a_login_does_not_undo_it(
        failure: type[Exception], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    site = Site(max_sessions=1)
    site.visit(login("joe"))
    site.cookies = {}
    monkeypatch.setattr(site.store, "scan", lambda: (_ for _ in ()).throw(failure("down")))
    site.visit(login("joe"))
    monkeypatch.undo()
    assert "more sessions than allowed" in caplog.text
    assert site.manager.load(site.id).user == "joe"


def test_a_user_known_by_something_else_than_user_is_limited_too() -> None:
    class Account(DictSession):
        def user_key(self) -> str | None:
            return self.get("account")

    site = Site(max_sessions=1)
    site.manager.session_class = Account
    for site.cookies in ({}, {}):
        site.visit(put(account="joe"))
    assert len(site.sessions()) == 1


# -- locks ------------------------------------------------------------------------------------------------------------


def test_a_lock_holds_after_a_renewal() -> None:
    site = Site(concurrency="lock", renew_after=1000, lock_timeout=0)
    site.store._locks = None
    site.visit(put(a=1))
    site.now += 1001
    holder = site.start(put(b=1))
    site.manager.settle_request(holder)
    renewed = {"session2": holder.sent["session2"][0]}
    for cookies in (renewed, dict(site.cookies)):
        with pytest.raises(Exception, match="locked"):
            site.start(cookies=cookies)
    old = dict(site.cookies)
    site.finish(holder)
    for cookies in (renewed, old):
        site.finish(site.start(cookies=cookies))


@pytest.mark.parametrize("kind", ["record", "host"])
def test_a_lease_that_ran_out_before_the_session_was_loaded_is_told(
        kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_lease=10, lock_timeout=0)
    if kind == "record":
        site.store._locks = None
    site.visit(put(a=1))
    find, others = site.manager.find, []

    def slow(*args: Any) -> Any:
        site.now += 11
        monkeypatch.undo()
        others.append(site.start())
        return find(*args)

    monkeypatch.setattr(site.manager, "find", slow)
    with pytest.raises(LockLost):
        site.start()
    site.finish(others[0])


def test_after_a_login_one_lock_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.visit(put(a=1))
    site.visit(login("joe"))
    taken, take = [], site.store.lock
    monkeypatch.setattr(site.store, "lock", lambda key, **options: taken.append(key) or take(key, **options))
    site.visit(put(b=1))
    assert taken == [site.manager.sessions.key(site.id)]


@pytest.mark.parametrize("rotations", [1, 2])
@pytest.mark.parametrize("fails", [False, True])
def test_a_change_of_ids_leaves_no_lock_behind(rotations: int, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.store._locks = None
    site.visit(put(a=1))
    request = site.start()
    for _ in range(rotations):
        site.manager.rotate(request.session)
    if fails:
        site.fail(monkeypatch, "write", lambda key, *_: not is_lock(key))
        with pytest.raises(StoreUnavailable):
            site.manager.rotate(request.session)
    site.finish(request)
    assert not [key for key, _ in site.store.scan() if is_lock(key)]


def test_cookies_that_lead_nowhere_leave_no_lock_behind() -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.store._locks = None
    site.visit(put(a=1))
    emptied = site.id
    site.visit(lambda session: session.clear())
    site.visit(put(b=1))
    request = FakeExchange()
    request.get_cookies = lambda name: [tokens.new_id(), emptied, site.id]  # type: ignore[method-assign]
    site.manager.start_request(request)
    assert dict(request.session) == {"b": 1}
    assert not site.finish(request).sent
    assert not [key for key, _ in site.store.scan() if is_lock(key)]


@pytest.mark.parametrize("unlocked", [False, True])
def test_who_writes_without_asking_for_the_lock_is_merged_with(unlocked: bool) -> None:
    site = Site()
    site.visit(put(a=1))
    request = site.start(put(b=1), concurrency="lock")
    if unlocked:
        site.manager.unlock_request(request)
    site.visit(put(c=1))
    site.finish(request)
    assert site.content == {"a": 1, "b": 1, "c": 1}


def test_a_request_that_could_not_begin_leaves_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.visit(put(a=1))
    request = FakeExchange(dict(site.cookies))
    monkeypatch.setattr(Visits, "start_request", lambda session: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        site.manager.start_request(request)
    monkeypatch.undo()
    site.visit()


def test_who_lost_a_lock_taken_in_mid_request_cannot_write() -> None:
    site = Site(lock_lease=10, lock_timeout=0)
    site.visit(put(n=0))
    slow = site.start()
    site.manager.lock_request(slow)
    site.now += 11
    site.manager.lock_request(site.start())
    slow.session["n"] = "slow"
    with pytest.raises(LockLost):
        site.finish(slow)


@pytest.mark.parametrize("hash_ids", [True, False])
def test_the_lock_of_an_id_that_was_renewed_is_that_of_the_session(hash_ids: bool) -> None:
    site = Site(renew_after=1000, lock_timeout=0)
    site.store.hash_ids = hash_ids
    site.visit(put(a=1))
    old = site.id
    site.now += 1001
    site.visit()
    with site.manager.lock(old), pytest.raises(Exception, match="locked"):
        site.manager.lock(site.id)


def test_a_lock_that_comes_when_the_request_is_over_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.finish(site.start(lambda session: session.update(a=1)))
    take, request = site.store.lock, FakeExchange(dict(site.cookies))

    def slow(*arguments: Any, **options: Any) -> Any:
        lease = take(*arguments, **options)
        site.manager.finish_failed_request(request)  # by another thread: the task was cancelled
        return lease

    with monkeypatch.context() as waiting:
        waiting.setattr(site.store, "lock", slow)
        site.manager.start_request(request)
    site.manager.lock(site.id).release()


def test_a_lock_taken_ahead_when_the_request_is_over_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.finish(site.start(lambda session: session.update(a=1)))
    request, write = site.start(lambda session: session.set_user("ada")), site.store.write

    def slow(key: str, record: Record, expected: object) -> Any:
        site.manager.finish_failed_request(request)
        return write(key, record, expected)

    monkeypatch.setattr(site.store, "write", slow)
    with contextlib.suppress(SessionConflict):
        site.manager.settle_request(request)
    monkeypatch.undo()
    for each in (request.session.id, site.cookies["session2"]):
        site.manager.lock(each).release()


@pytest.mark.parametrize("mode", ["lock", "merge"])
def test_a_lock_whose_release_failed_is_released_at_the_next_use(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.store._locks = None
    site.visit(put(a=1))
    holder = site.start()
    site.fail(monkeypatch, "remove", lambda *_: True)
    site.finish(holder)
    site.visit(put(b=1), concurrency=mode)
    assert site.content == {"a": 1, "b": 1}
    assert not [key for key, _ in site.store.scan() if is_lock(key)]


def test_an_interruption_of_a_release_is_not_hidden_and_leaves_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    site.store._locks = None
    site.visit(put(a=1))
    lease = site.manager.lock(site.id)

    def interrupted(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lease.release()
    site.visit()


@pytest.mark.parametrize("kind", ["record", "host"])
def test_a_child_that_unwinds_leaves_the_lock_of_its_parent_alone(kind: str, tmp_path: Path) -> None:
    store = DirectorySessionStore(tmp_path)
    if kind == "record":
        store._locks = None
    lease = store.lock("a" * 43)
    child = os.fork()
    if child == 0:
        lease.release()
        os._exit(0 if is_locked(store, "a" * 43) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert lease.is_held()
    assert is_locked(store, "a" * 43)


# -- what was changed -------------------------------------------------------------------------------------------------


class Thing:
    """Hashes by identity, so that a set of these is pickled in another order each time."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_looking_at_a_set_of_objects_writes_nothing() -> None:
    site = Site()
    site.visit(put(things={Thing(number) for number in range(20)}))
    versions = {record.version for record in site.sessions()}
    for _ in range(20):
        site.visit(concurrency="read-only")
        site.visit()
    assert {record.version for record in site.sessions()} == versions


def test_a_user_with_such_a_set_stays_the_same_user() -> None:
    user = Thing(1)
    user.roles = {Thing(number) for number in range(20)}  # type: ignore[attr-defined]
    site = Site()
    site.visit(login(user))
    id = site.id
    for number in range(10):
        site.visit(put(a=number))
    assert site.id == id


@pytest.mark.parametrize("store_first", ["settle", "maintain", "save"])
def test_what_was_not_changed_since_it_was_stored_is_no_change_of_mine(store_first: str) -> None:
    site = Site()
    site.store.serializer = JSONSerializer()
    site.visit(put(shared=[1, 2], mine=0))
    request = site.start(put(mine=1))
    if store_first == "settle":
        site.manager.settle_request(request)
    elif store_first == "maintain":
        site.manager.maintain_session(request.session, request)
    else:
        site.manager.save(request.session)
    other = site.manager.load(site.id)
    other["shared"] = [3]
    site.manager.save(other)
    put(mine=2)(request.session)
    site.finish(request)
    assert site.content == {"shared": [3], "mine": 2}


def test_nor_is_it_one_that_two_items_are_one_object_in_a_format_that_makes_two_of_them() -> None:
    site = Site()
    site.store.serializer = JSONSerializer()
    both = [1]
    request = site.start(put(one=both, other=both))
    site.manager.settle_request(request)
    site.cookies = {"session2": request.sent["session2"][0]}
    site.visit(put(one=[2]))
    request.session["mine"] = 1  # type: ignore[index]
    site.finish(request)
    assert site.content == {"one": [2], "other": [1], "mine": 1}


def test_what_is_pending_is_what_is_to_be_stored() -> None:
    site = Site()
    pending = site.manager.sessions.pending
    new = site.manager.new_session()
    assert pending(new) is not None
    site.visit(put(a=1))
    session = site.manager.load(site.id)
    assert pending(session) is None
    site.manager.reserve_id(session)
    assert pending(session) is not None, "it is to be stored under another id"


class Counting(PickleSerializer):
    pickled = 0

    def dumps(self, state: dict[str, Any]) -> bytes:
        self.pickled += 1
        return super().dumps(state)


@pytest.mark.parametrize(("page", "pickled"), [(lambda session: None, 0), (put(n=0), 1)])
def test_a_visitor_without_a_session_costs_no_pickle_that_is_not_stored(page: Page, pickled: int) -> None:
    site = Site()
    site.store.serializer = serializer = Counting()
    site.visit(page)
    assert serializer.pickled == pickled


@pytest.mark.parametrize("order", [{}, {"order": 1}])
def test_a_form_token_is_used_once_also_if_nothing_else_is_in_the_session(order: dict[str, int]) -> None:
    site = Site()
    tokens: list[str] = []
    site.visit(lambda session: tokens.append(session.create_form_token()))
    one, other = site.start(), site.start()
    for request in (one, other):
        request.session.remove_form_token(tokens[0])  # type: ignore[union-attr]
    other.session.update(order)  # type: ignore[union-attr]
    site.finish(one)
    with pytest.raises(SessionConflict, match="twice"):
        site.finish(other)


def test_a_form_token_that_is_made_and_used_in_one_request_is_no_conflict() -> None:
    site = Site()
    site.visit(put(a=1))
    one = site.start()
    one.session.remove_form_token(one.session.create_form_token())  # type: ignore[union-attr]
    site.visit(put(b=2))
    site.finish(one)
    assert site.content == {"a": 1, "b": 2}


def test_a_form_token_is_used_once_also_if_many_others_are_used_meanwhile() -> None:
    site = Site()
    tokens: list[str] = []
    site.visit(lambda session: tokens.append(session.create_form_token()))
    slow = site.start()
    slow.session.remove_form_token(tokens[0])  # type: ignore[union-attr]
    site.visit(lambda session: session.remove_form_token(tokens[0]))
    for _ in range(16):
        site.visit(lambda session: session.remove_form_token(session.create_form_token()))
        site.visit(put(a=1))
    with pytest.raises(SessionConflict, match="twice"):
        site.finish(slow)


def test_two_requests_may_use_two_form_tokens() -> None:
    site, tokens = Site(), list[str]()
    site.visit(put(a=1))
    site.visit(lambda session: tokens.extend(session.create_form_token() for _ in "abc"))
    requests = [site.start(lambda session, token=token: session.remove_form_token(token)) for token in tokens[:2]]
    for request in requests:
        site.finish(request)
    site.visit(lambda session: session.remove_form_token(tokens[2]))
    assert not any(site.manager.load(site.id).has_form_token(token) for token in tokens)


def test_of_two_requests_that_use_one_form_token_the_second_fails() -> None:
    site = Site()
    tokens: list[str] = []
    site.visit(lambda session: tokens.append(session.create_form_token()))
    first, second = site.start(), site.start()
    for request in (first, second):
        assert request.session.has_form_token(tokens[0])  # type: ignore[union-attr]
        request.session.remove_form_token(tokens[0])  # type: ignore[union-attr]
        request.session["order"] = 1  # type: ignore[index]
    site.finish(first)
    with pytest.raises(SessionConflict, match="twice"):
        site.finish(second)


def test_a_form_token_that_is_used_up_just_after_a_login_does_not_undo_it(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    tokens: list[str] = []
    site.visit(lambda session: tokens.append(session.create_form_token()))
    slow = site.start()
    slow.session.remove_form_token(tokens[0])  # type: ignore[union-attr]
    slow.session.set_user("joe")  # type: ignore[union-attr]

    def used_up(*args: Any) -> Any:
        raise SessionConflict("used up")

    monkeypatch.setattr(site.store.sessions.saving, "catch_up", used_up)
    retire = site.store.sessions.filing.retire

    def used_then(*args: Any) -> Any:
        trace = retire(*args)
        for key, record in site.store.scan():
            if is_session(key, record):
                site.store.write(key, record, record.version)
        return trace

    monkeypatch.setattr(site.store.sessions.filing, "retire", used_then)
    site.finish(slow)
    assert site.manager.load(slow.sent["session2"][0]).user == "joe"


@pytest.mark.parametrize("write", ["rotate", "save"])
def test_what_is_only_read_gets_no_other_id_either(write: str) -> None:
    site = Site()
    site.visit(put(a=1))
    request = site.start(concurrency="read-only")
    request.session["b"] = 2  # type: ignore[index]
    with pytest.raises(ReadOnlySession):
        getattr(site.manager, write)(request.session, **({} if write == "rotate" else {"concurrency": "read-only"}))
    assert site.content == {"a": 1}


@pytest.mark.parametrize("options", [{}, {"renew_after": 100}])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
def test_an_interrupted_login_or_renewal_leaves_no_session_that_nobody_can_reach(
        options: dict[str, Any], done: bool, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it take away one to which the old id leads by now."""
    site = Site(**options)
    site.visit(put(a=1))
    site.now += 101
    request = site.start(put(b=2) if options else login("joe"))
    write, writes = site.store.write, iter(range(1, 9))

    def interrupted(*args: Any) -> Any:
        number = next(writes)
        if number != nth or done:
            version = write(*args)
        if number == nth:
            raise KeyboardInterrupt
        return version

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            site.finish(request)
    retired = done and nth == 2
    assert len(site.sessions()) == 1
    assert (site.manager.load(site.id) is None) == (retired and not options)


# -- what cannot be read ----------------------------------------------------------------------------------------------


class Moody:
    failure: type[BaseException] | None = None

    def __setstate__(self, state: Any) -> None:
        if self.failure is not None:
            raise self.failure("not now")


@pytest.mark.parametrize("failure", [MemoryError, OSError, TimeoutError, RuntimeError])
def test_a_failure_of_the_moment_costs_nobody_the_session(failure: type[BaseException],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    moody = Moody()
    moody.x = 1  # type: ignore[attr-defined]
    site.visit(put(moody=moody))
    before = dict(site.cookies)
    monkeypatch.setattr(Moody, "failure", failure)
    with pytest.raises(failure):
        site.start()
    monkeypatch.undo()
    site.visit()
    assert site.cookies == before
    assert "moody" in site.content


def test_a_class_this_process_does_not_know_may_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(unreadable="refuse")
    site.visit(put(thing=Thing(1)))
    monkeypatch.delattr("test.test_visit.Thing" if __name__.startswith("test.") else f"{__name__}.Thing")
    with pytest.raises(StoreUnavailable, match="left alone"):
        site.start()
    assert site.manager.load(tokens.new_id()) is None
    monkeypatch.undo()
    assert site.content["thing"].number == 1


@pytest.mark.parametrize("headers_sent", [False, True])
def test_a_change_of_what_a_newer_process_stored_meanwhile_is_refused_too(
        headers_sent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(unreadable="refuse")
    site.visit(put(a=1))
    slow = site.start(put(b=2))
    site.visit(put(thing=Thing(1)))
    monkeypatch.delattr("test.test_visit.Thing" if __name__.startswith("test.") else f"{__name__}.Thing")
    with pytest.raises(StoreUnavailable, match="left alone"):
        site.manager.settle_request(slow, headers_sent)
    monkeypatch.undo()
    assert set(site.content) == {"a", "thing"}


def test_an_unknown_way_to_treat_the_unreadable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unreadable"):
        Site(unreadable="ignore")


# -- why there is no session ------------------------------------------------------------------------------------------


def absence(site: Site, cookie: str | None) -> tuple[Absence | None, list[str]]:
    del site.heard[:]
    request = site.start(cookies={} if cookie is None else {"session2": cookie})
    site.manager.finish_failed_request(request)
    return request.visit.absence, [f"{event.name} {event.detail}" for event in site.heard]


def test_every_absence_has_its_reason() -> None:
    site = Site(idle_timeout=1000, max_sessions=1)
    assert absence(site, None) == (Absence.NO_COOKIE, [])
    assert absence(site, "../../etc/passwd") == (Absence.MALFORMED, ["absent malformed"])
    assert absence(site, "x" * 43) == (Absence.UNKNOWN, ["absent unknown"])
    site.visit(put(a=1))
    id = site.id
    assert absence(site, id) == (None, [])
    site.visit(login("joe"))
    assert absence(site, id) == (Absence.ROTATED, ["absent rotated"])
    id, site.cookies = site.id, {}
    site.now += 1
    site.visit(login("joe"))
    assert absence(site, id) == (Absence.ENDED, ["absent ended: too many sessions of one user"])
    id = site.id
    site.manager.revoke_user("joe")
    assert absence(site, id) == (Absence.ENDED, ["absent ended: revoked by user"])
    site.cookies = {}
    site.visit(put(a=1))
    id = site.id
    site.log_out()
    assert absence(site, id) == (Absence.ENDED, ["absent ended: logged out"])
    site.visit(put(a=1))
    site.manager.delete(site.id)
    assert absence(site, site.id) == (Absence.ENDED, ["absent ended: deleted by the application"])
    site.cookies = {}
    site.visit(put(a=1))
    site.now += 1001
    assert absence(site, site.id) == (Absence.EXPIRED, ["absent expired"])


def test_the_trace_of_a_renewal_is_gone_when_its_grace_is() -> None:
    """With an old id and a copy of the store the present id could be told as long as it is there."""
    site = Site(renew_after=1000, renew_grace=60)
    site.visit(put(a=1))
    site.now += 1001
    site.visit()
    assert len(site.store._records) == 2
    site.now += 61
    site.visit()
    assert len(site.store._records) == 1
    assert site.content == {"a": 1}


def test_nor_is_it_noted_any_more_by_a_session_that_is_changed_then() -> None:
    site = Site(renew_after=1000, renew_grace=60)
    site.visit(put(a=1))
    site.now += 1001
    site.visit()
    site.now += 61
    site.visit(put(a=2))
    assert "_left" not in vars(site.manager.load(site.id))
    assert len(site.store._records) == 1


def test_a_session_that_notes_another_one_as_its_trace_does_not_remove_that() -> None:
    site = Site()
    site.visit(put(a=1))
    other, site.cookies = site.id, {}
    site.visit(lambda session: vars(session).update(_left=[tokens.hash_id(other), 0], _csrf_token="x"))
    site.visit(put(b=1))
    assert site.manager.load(other)["a"] == 1


@pytest.mark.parametrize(("idle", "lives"), [(1000, 1000.0), (None, 86400.0), (10 * 86400, 86400.0)])
def test_it_is_remembered_why_a_session_ended_for_as_long_as_it_would_have_lived_and_a_day_at_most(
        idle: float | None, lives: float) -> None:
    site = Site(idle_timeout=idle, lifetime=None)
    site.visit(put(a=1))
    first = tokens.hash_id(site.id)
    site.log_out()
    site.visit(put(a=1))
    second = tokens.hash_id(site.id)
    site.visit(lambda session: session.clear())
    assert [site.store.read(key).expires - site.now for key in (first, second)] == [lives, lives]


def test_a_login_is_remembered_for_a_minute() -> None:
    site = Site()
    site.visit(put(a=1))
    old = tokens.hash_id(site.id)
    site.visit(login("joe"))
    trace = site.store.read(old)
    assert trace is not None
    assert trace.expires == site.now + 60


def test_an_interruption_is_not_hidden_by_a_store_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.visit(put(a=1))

    def interrupted(*args: Any) -> Any:
        site.fail(monkeypatch, "read", lambda *_: True)
        raise KeyboardInterrupt

    for cookies in ({}, dict(site.cookies)):
        request = site.start(login("joe"), cookies=cookies)
        with monkeypatch.context() as patch:
            patch.setattr(site.store, "write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                site.finish(request)
        monkeypatch.undo()


@pytest.mark.parametrize("in_line", [True, False])
def test_who_is_overtaken_again_and_again_gives_up(in_line: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.visit(put(a=1))
    request = site.start(put(b=1))
    site.visit(put(c=1))
    monkeypatch.setattr("session2.saving.MERGE_PATIENCE", 0.0)
    saving = site.store.sessions.saving
    if in_line:
        monkeypatch.setattr(saving, "_line", lambda *_: None)
    else:
        site.fail(monkeypatch, "write", lambda *_: True)
        monkeypatch.setattr(saving, "_written", lambda *_: None)
    with pytest.raises(SessionConflict, match="kept changing"):
        site.finish(request)
    assert not saving._merging
    assert site.content == {"a": 1, "c": 1}


# -- merging ----------------------------------------------------------------------------------------------------------


def test_what_they_deleted_with_its_dict_stays_deleted() -> None:
    base, mine, theirs = {"d": {"a": 1, "b": 1}}, {"d": {"a": 1, "b": 1, "c": 1}}, dict[str, Any]()
    assert merge.merge(base, mine, theirs) == {"d": {"c": 1}}
    assert merge.merge(base, theirs, mine) == {"d": {"c": 1}}
    assert merge.merge(base, {}, base) == {}


def test_one_object_under_two_names_stays_one() -> None:
    cart = {"book": 1}
    mine = {"cart": cart, "also": cart}
    merged = merge.merge({"cart": {"book": 1}}, mine, {"cart": {"book": 1, "record": 1}})
    assert merged["also"] is merged["cart"]
    assert merged["cart"] == {"book": 1, "record": 1}


@pytest.mark.parametrize(("before", "after"), [
    (Decimal(10), Decimal(20)), (date(2026, 1, 1), date(2027, 1, 1)), ((1, 2), (3, 4)), (UUID(int=1), UUID(int=2)),
    (frozenset({1}), frozenset({2}))], ids=lambda value: type(value).__name__)
def test_a_value_that_was_copied_is_what_it_was(before: Any, after: Any) -> None:
    """Nobody can change it, and who gave it another name meant the value that he saw."""
    site = Site()
    site.visit(lambda session: session.update(total=before))
    slow = site.start(lambda session: session.update(previous=session["total"]))
    site.visit(lambda session: session.update(total=after))
    site.finish(slow)
    assert site.content == {"total": after, "previous": before}


@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_an_order_that_was_changed_is_kept(kind: type) -> None:
    base, mine = kind([("a", 1), ("b", 1), ("c", 1)]), kind([("b", 1), ("c", 1), ("a", 1)])
    merged = merge.merge({"d": base}, {"d": mine}, {"d": kind([("a", 1), ("b", 2), ("c", 1), ("e", 1)])})
    assert list(merged["d"].items()) == [("b", 2), ("c", 1), ("a", 1), ("e", 1)]


def test_what_both_added_is_in_a_union_once() -> None:
    assert merge.union([1], [1, 2], [1, 2]) == [1, 2]


def test_true_is_not_one_in_a_union() -> None:
    assert merge.union([], [True], [1]) == [1, True]


@pytest.mark.parametrize("end", ["logout", "emptied"])
def test_what_ends_when_the_headers_are_out_sends_no_cookie(end: str) -> None:
    site = Site()
    site.visit(put(a=1))
    request = site.start()
    if end == "logout":
        site.manager.expire_session(request, clear_site_data=True)
    else:
        request.session.clear()  # type: ignore[union-attr]
    site.manager.settle_request(request, headers_sent=True)
    assert not request.sent
    assert request.headers == [("Vary", "Cookie")]
    assert not site.sessions()


def test_what_comes_too_late_after_a_login_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.visit(put(a=1))
    late = dict(site.cookies)
    site.visit(lambda session: session.set_user("ada"))
    request = site.start(put(b=2), late)
    site.manager.settle_request(request)
    site.manager.settle_request(request, headers_sent=True)
    assert not request.sent
    assert site.content == {"a": 1}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# -- a cookie that lasts ----------------------------------------------------------------------------------------------


def test_a_cookie_of_the_browsers_session_is_not_sent_again() -> None:
    site = Site(touch_interval=60)
    site.visit(put(a=1))
    site.now += 61
    assert not site.visit(put(a=2)).sent


def test_a_lasting_cookie_is_sent_again_once_in_each_touch_interval() -> None:
    site = Site(cookie=CookiePolicy(max_age=14 * 86400), touch_interval=300)
    site.now = 1.8e9 - 1.8e9 % 300
    sent = []
    for _ in range(30):
        site.now += 60
        sent.append(site.visit(lambda session: session.update(now=site.now)).cookie_sent is not None)
    assert sent == [True, *[False] * 3, *[True, *[False] * 4] * 5, True]


def test_a_lasting_cookie_is_sent_again_also_if_the_session_was_stored_in_mid_request() -> None:
    site = Site(cookie=CookiePolicy(max_age=3600), touch_interval=60)
    site.visit(put(a=1))
    site.now += 61
    request = site.start(put(a=2))
    site.manager.maintain_session(request.session, request)
    assert site.finish(request).sent


def test_without_an_interval_a_lasting_cookie_is_sent_with_each_use() -> None:
    site = Site(cookie=CookiePolicy(max_age=14 * 86400), touch_interval=0)
    for _ in range(3):
        site.now += 1
        assert site.visit(put(a=site.now)).cookie_sent is not None
