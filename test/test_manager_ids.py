"""Ids that are renewed, given up or ended while other requests are under way."""

from collections.abc import Iterator
from typing import Any

import pytest

from session2 import (
    ConfigurationError,
    DictSession,
    JSONSerializer,
    SessionConflict,
    SessionManager,
    StoreUnavailable,
    merge,
    sessions,
    tokens,
    traces,
)
from session2.found import Absence
from session2.record import Record
from session2.serializers import MsgpackSerializer
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange

Cookies = dict[str, str]


class Site:
    """A manager, its clock, and one browser."""

    def __init__(self, **options: Any) -> None:
        self.now = 1.8e9
        self.events: list[str] = []
        self.store = VolatileSessionStore(clock=lambda: self.now, observer=lambda event: self.events.append(event.name))
        self.manager: SessionManager[Any] = SessionManager(self.store, **{"session_class": DictSession, **options})
        self.cookies: Cookies = {}

    def start(self, cookies: Cookies | None = None, **items: Any) -> FakeExchange:
        request = FakeExchange(dict(self.cookies) if cookies is None else cookies)
        self.manager.start_request(request)
        request.session.update(items)  # type: ignore[union-attr]
        return request

    def finish(self, request: FakeExchange) -> FakeExchange:
        self.manager.finish_successful_request(request)
        return request

    def visit(self, user: Any = None, **items: Any) -> FakeExchange:
        request = self.start(self.cookies, **items)
        if user is not None:
            request.session.set_user(user)  # type: ignore[union-attr]
        return self.finish(request)

    @property
    def id(self) -> str:
        return self.cookies["session2"]


def test_a_late_request_does_not_prolong_the_grace_of_an_old_id() -> None:
    site = Site(idle_timeout=1000, touch_interval=10)
    site.visit(a=1)
    old = site.id
    site.now += 20
    late = site.start()
    site.manager.rotate(site.manager.load(old), grace=60)
    site.now += 1
    site.finish(late)
    site.now += 61
    assert site.manager.load(old) is None


@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgpackSerializer()], ids=["json", "msgpack"])
def test_what_a_session_notes_about_itself_can_be_kept_in_every_format(serializer: Any) -> None:
    site = Site(renew_after=1000, max_sessions=2)
    site.store.serializer = serializer
    site.visit("joe")
    for _ in range(3):
        site.now += 1001
        old, request = site.id, site.start(site.cookies)
        request.session.remove_form_token(request.session.create_form_token())  # type: ignore[union-attr]
        site.finish(request)
        assert site.id != old
    assert site.manager.load(site.id).user == "joe"


def test_each_renewal_removes_the_trace_of_the_last_one() -> None:
    site = Site(renew_after=1000)
    site.visit(a=1)
    old = [site.id]
    for _ in range(4):
        site.now += 1001
        site.visit()
        old.append(site.id)
    assert len(set(old)) == 5
    assert [site.store._look_up(tokens.hash_id(id)) for id in old[:3]] == [None] * 3, "the old id told the new one"


@pytest.mark.parametrize("late", ["the headers are out", "the request is over", "nobody has the request"])
def test_a_session_is_not_renewed_when_its_browser_cannot_be_told(late: str) -> None:
    """Else the visitor would be logged out when the grace of the old id is over."""
    site = Site(renew_after=1000)
    site.visit("joe")
    site.now += 1001
    request = site.start()
    session = request.session
    if late == "the headers are out":
        request.headers_sent = True
    elif late == "the request is over":
        site.manager.finish_failed_request(request)
    else:
        del request
    session["a"] = 1  # type: ignore[index]
    site.manager.save(session)  # type: ignore[arg-type]
    site.now += 100
    assert dict(site.manager.load(site.id)) == {"a": 1}


def test_a_logout_ends_a_session_that_was_renewed_meanwhile() -> None:
    site = Site(renew_after=1000)
    site.visit("joe")
    slow = site.start()
    site.now += 1001
    site.visit()
    site.manager.expire_session(slow)
    site.finish(slow)
    assert not site.manager.keys()


def test_a_logout_leaves_the_trace_of_a_login_in_place() -> None:
    site = Site()
    site.visit(a=1)
    old = site.id
    stale = site.manager.load(old)
    site.visit("joe")
    site.manager.delete(stale)
    assert site.store.sessions.locate(old).absence is Absence.ROTATED
    assert "ended" not in site.events


def test_to_revoke_a_user_ends_what_was_renewed_meanwhile() -> None:
    site = Site()
    site.visit("joe")
    remove, removed = site.store.remove, []

    def renewed_first(key: str, expected: Any = None) -> None:
        if not removed:
            removed.append(key)
            site.manager.rotate(site.manager.load(site.id), grace=60)
        remove(key, expected)

    site.store.remove = renewed_first  # type: ignore[method-assign]
    assert site.manager.revoke_user("joe") == 1
    assert not site.manager.keys()


@pytest.mark.parametrize("grace", [0, 60])
def test_to_revoke_a_user_ends_what_a_scan_passed_in_mid_renewal(grace: float) -> None:
    """The scan is past where the new record goes before it comes to where the old one was."""
    site = Site()
    site.visit("joe")
    whole, passes = site.store.scan, []

    def behind_the_back() -> Iterator[tuple[str, Record]]:
        passes.append(1)
        if len(passes) > 1:
            return whole()
        (old_key, _), = whole()
        site.manager.rotate(site.manager.load(site.id), grace)
        return iter([(old_key, site.store.read(old_key))])

    site.store.scan = behind_the_back  # type: ignore[method-assign]
    assert site.manager.revoke_user("joe") == 1
    assert not site.manager.keys()


def test_to_revoke_a_user_ends_what_cannot_be_decoded_here() -> None:
    """The class of a value may be known to the application only; its session must not outlive the revocation."""
    site = Site()
    site.visit("joe", a=1)
    elsewhere = SessionManager(site.store)
    site.store.serializer, serializer = JSONSerializer(), site.store.serializer
    assert elsewhere.revoke_user("joe") == 1
    site.store.serializer = serializer
    assert not site.manager.keys()


def test_to_revoke_all_others_spares_a_session_that_was_renewed_meanwhile() -> None:
    site = Site(renew_after=1000)
    for site.cookies in ({}, {}):
        site.visit("joe")
    slow = site.start()
    site.now += 1001
    site.visit()
    assert site.manager.revoke_user("joe", except_=slow.session) == 1
    assert site.manager.load(site.id).user == "joe"


def test_revoking_ends_although_others_log_in_all_the_while() -> None:
    site = Site()
    site.visit("joe")
    whole = site.store.scan

    def busy() -> Iterator[tuple[str, Record]]:
        site.visit("joe")
        return whole()

    site.store.scan = busy  # type: ignore[method-assign]
    assert site.manager.revoke_user("joe") > 1


@pytest.mark.parametrize("how", ["by id", "by iteration"])
def test_a_session_saved_outside_requests_keeps_the_id_its_browser_knows(how: str) -> None:
    site = Site(renew_after=1000)
    site.visit(a=1)
    site.now += 1001
    session = site.manager.load(site.id) if how == "by id" else next(iter(site.manager))
    session["b"] = 2
    site.manager.save(session)
    site.now += 61
    assert dict(site.manager.load(site.id)) == {"a": 1, "b": 2}
    assert len(site.manager.keys()) == 1


@pytest.mark.parametrize("grace", [0, 60])
def test_a_session_met_by_iteration_is_rotated_not_doubled(grace: float) -> None:
    site = Site()
    site.visit(a=1)
    session = next(iter(site.manager))
    site.manager.rotate(session, grace)
    assert site.manager.load(site.id) is None
    assert dict(site.manager.load(session.id)) == {"a": 1}
    assert len(site.manager.keys()) == 1


def test_a_login_that_rotates_by_itself_is_a_login_like_any_other() -> None:
    site = Site(max_sessions=1)
    for _ in range(2):
        site.now += 10
        request = site.start({})
        request.session.set_user("joe")
        site.manager.rotate(request.session)
        site.finish(request)
    session, = site.manager
    assert session.get_login_time() == site.now
    session, = site.manager.sessions_of("joe")
    site.now += 10
    session.set_user("ann")
    site.manager.rotate(session)
    assert session.get_login_time() == site.now


def test_who_logs_in_once_more_ends_the_oldest_also_if_the_session_keeps_its_user_elsewhere() -> None:
    class Kept(DictSession):
        def user_key(self) -> str | None:
            return self.get("name")

    site = Site(session_class=Kept, max_sessions=2)
    ids = []
    for _ in range(8):
        site.now += 10
        site.cookies = {}
        site.visit(name="joe")
        ids.append(site.id)
    assert [id for id in ids if site.manager.load(id)] == ids[-2:]
    assert site.manager.load(site.id).get_login_time() == site.now


def test_a_login_is_not_ended_by_those_whose_clock_is_ahead() -> None:
    site = Site(max_sessions=1)
    site.now += 10
    site.visit("joe")
    site.cookies = {}
    site.now -= 10
    site.visit("joe")
    assert site.manager.load(site.id).user == "joe"


def test_a_login_that_cannot_be_merged_leaves_no_second_session() -> None:
    class Visits(DictSession):
        merge_rules = {"n": merge.add}

    site = Site()
    site.manager.session_class = Visits
    site.visit(n=1)
    request = site.start(n=None)
    request.session.set_user("joe")
    site.visit(n=2)
    with pytest.raises(TypeError):
        site.finish(request)
    assert [session.user for session in site.manager] == [None]


def test_a_login_while_the_session_keeps_changing_leaves_no_second_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "attempts", lambda seconds: range(3))
    site = Site()
    site.visit(n=0)
    request = site.start()
    request.session.set_user("joe")
    retire, others = site.store.sessions.filing.retire, iter(range(1, 9))

    def changed_first(*args: Any) -> Record:
        site.visit(n=next(others))
        return retire(*args)

    monkeypatch.setattr(site.store.sessions.filing, "retire", changed_first)
    with pytest.raises(SessionConflict):
        site.finish(request)
    assert [session.user for session in site.manager] == [None]


def test_the_limit_of_sessions_holds_for_what_is_renewed_meanwhile() -> None:
    site = Site(max_sessions=1, renew_after=1000)
    site.visit("joe")
    first, found = site.cookies, site.store.sessions.each
    site.now += 1001
    site.cookies = {}

    def renewed_behind_the_back(*args: Any) -> Iterator[Any]:
        listed = list(found(*args))
        site.finish(site.start(first))
        return iter(listed)

    site.store.sessions.each = renewed_behind_the_back  # type: ignore[method-assign]
    site.visit("joe")
    assert len(list(site.store.sessions.revoke("joe"))) == 1


def test_a_login_stored_through_the_mapping_has_a_new_id_too() -> None:
    site = Site()
    site.visit(a=1)
    session = site.manager[site.id]
    session.set_user("joe")
    site.manager[site.id] = session
    assert site.manager.load(site.id) is None
    assert site.manager.load(session.id).user == "joe"


def test_no_id_is_kept_with_what_refers_back_to_its_session() -> None:
    site = Site()
    request = site.start({})
    request.session["basket"] = {"of": request.session}
    site.manager.reserve_id(request.session)
    site.finish(request)
    known = [request.sent["session2"][0]]
    site.manager.rotate(request.session)
    known.append(request.session.id)
    again = site.manager.load(known[-1])
    again["basket"]["more"] = 1
    site.manager.save(again)
    (_, record), = ((key, record) for key, record in site.store.scan() if traces.is_session(key, record))
    assert not [id for id in known if id.encode() in record.data]
    assert again["basket"]["of"]["basket"] is again["basket"]


def test_an_id_in_use_is_given_to_no_other_session() -> None:
    site = Site()
    site.visit(a=1)
    with pytest.raises(SessionConflict, match="stored already"):
        site.manager.save(site.manager.new_session(site.id))
    with pytest.raises(SessionConflict, match="stored already"):
        site.store.save_session(DictSession(site.id))
    assert dict(site.manager.load(site.id)) == {"a": 1}


@pytest.mark.parametrize("id", ["", "joe", "\xe9" * 43])
def test_nothing_is_stored_under_an_id_that_nobody_could_load(id: str) -> None:
    site = Site()
    with pytest.raises(ConfigurationError):
        site.store.save_session(DictSession(id))
    assert not site.manager.keys()


def test_a_rotation_at_a_login_leaves_the_old_id_no_grace() -> None:
    site = Site()
    site.visit(a=1)
    old = site.id
    request = site.start(site.cookies)
    request.session.set_user("joe")
    site.manager.rotate(request.session, grace=60)
    site.finish(request)
    assert site.manager.load(old) is None
    assert site.manager.load(site.id).user == "joe"


def test_to_rotate_outside_requests_does_not_set_the_idle_clock_back() -> None:
    site = Site(idle_timeout=1000, touch_interval=10)
    site.visit(a=1)
    stale = site.manager.load(site.id)
    site.now += 900
    site.visit()
    site.manager.rotate(stale, grace=60)
    site.now += 900
    assert site.manager.load(stale.id) is not None


def test_to_delete_what_is_not_there_is_no_event() -> None:
    site = Site()
    site.manager.delete("nobody")
    site.manager.delete("\xe9")
    site.manager.delete(tokens.new_id())
    assert not site.events


def test_a_trace_that_leads_to_itself_leads_nowhere() -> None:
    site = Site()
    id = tokens.new_id()
    trace = traces.moved(id, id)
    site.store.write(site.store.sessions.key(id), Record(trace, site.now, site.now, site.now), None)
    assert site.manager.find(id).absence is Absence.UNKNOWN


def test_no_form_token_outlives_a_login_or_logout() -> None:
    """Whoever planted the session that somebody logs in to has seen its pages."""
    site = Site()
    site.visit(basket="tea")
    for user in ("ann", "joe", None):
        request = site.start(site.cookies)
        token, csrf = request.session.create_form_token(), request.session.get_csrf_token()
        site.finish(request)
        request = site.start(site.cookies)
        request.session.set_user(user)
        assert (request.session.has_form_token(token), request.session.get_csrf_token() == csrf) == (False, False)
        token, csrf = request.session.create_form_token(), request.session.get_csrf_token()
        site.finish(request)
        session = site.manager.load(site.id)
        assert (session.has_form_token(token), session.get_csrf_token()) == (True, csrf), "made behind the login"


@pytest.mark.parametrize("user", ["ann", None])
def test_a_posted_csrf_token_of_before_a_login_or_logout_is_not_valid(user: str | None) -> None:
    site = Site()
    site.visit("joe", basket="tea")
    request = site.start(site.cookies)
    csrf = request.session.get_csrf_token()
    site.finish(request)
    for _ in range(2):
        posted = FakeExchange(site.cookies, form={"csrf_token": csrf})
        site.manager.start_request(posted)
        assert posted.session.valid_csrf_token() is (posted.session.user == "joe")
        posted.session.set_user(user)
        assert not posted.session.valid_csrf_token()
        site.finish(posted)


class Person:
    """A user whose pickle is another one each time."""

    times = 0

    def __init__(self, name: str) -> None:
        self.name, self.shoes = name, 42

    def __getstate__(self) -> dict[str, Any]:
        Person.times += 1
        return dict(sorted(vars(self).items(), reverse=Person.times % 2 == 0))


def test_form_tokens_last_as_long_as_a_user_who_is_an_object() -> None:
    site, made = Site(), set()
    for user in ("joe", "ann"):
        site.visit(Person(user))
        request = site.start(site.cookies)
        made.add(csrf := request.session.get_csrf_token())
        site.finish(request)
        for count in range(2):
            request = site.start(site.cookies, count=count)
            assert request.session.get_csrf_token() == csrf
            site.finish(request)
    assert len(made) == 2


def test_a_login_that_cannot_be_stored_leaves_the_form_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise StoreUnavailable("it is down")

    site = Site()
    request = site.start(site.cookies)
    token, csrf = request.session.create_form_token(), request.session.get_csrf_token()
    site.finish(request)
    request = site.start(site.cookies)
    request.session.set_user("joe")
    monkeypatch.setattr(site.store, "write", fail)
    with pytest.raises(StoreUnavailable):
        site.manager.rotate(request.session)
    request.session.set_user(None)
    assert (request.session.has_form_token(token), request.session.get_csrf_token()) == (True, csrf)


def test_a_form_token_of_before_a_login_cannot_be_used_up_after_it() -> None:
    site = Site()
    request = site.start(site.cookies)
    token = request.session.create_form_token()
    site.finish(request)
    site.visit("joe", basket="tea")
    request = site.start(site.cookies)
    with pytest.raises(ValueError, match="not in list"):
        request.session.remove_form_token(token)
    request.session.user = None
    site.finish(request)
    assert not site.manager.load(site.id).has_form_token(token), "nobody is another nobody after a logout"


def test_the_token_of_the_form_that_logs_in_may_be_used_up_behind_the_login() -> None:
    site = Site()
    request = site.start(site.cookies)
    token = request.session.create_form_token()
    site.finish(request)
    request = site.start(site.cookies)
    assert request.session.has_form_token(token)
    request.session.set_user("joe")
    request.session.remove_form_token(token)
    site.finish(request)
    assert not site.manager.load(site.id).has_form_token(token)


def test_of_two_requests_behind_a_login_that_make_a_token_each_no_token_is_lost() -> None:
    for first in (0, 1):
        site = Site()
        request = site.start(site.cookies)
        request.session.get_csrf_token()
        site.finish(request)
        site.visit("joe")
        requests = [site.start(), site.start()]
        csrf = requests[0].session.get_csrf_token()
        token = requests[1].session.create_form_token()
        site.finish(requests[first])
        site.finish(requests[1 - first])
        session = site.manager.load(site.id)
        assert (session.get_csrf_token(), session.has_form_token(token)) == (csrf, True)


def test_the_key_of_a_lock_is_none_of_a_session() -> None:
    site = Site()
    site.store._locks = None
    site.visit(a=1)
    with site.manager.lock(site.id) as lease:
        key = traces.lock_key(lease.key)
        assert not site.manager.sessions.end_key(key)
        assert site.manager.sessions.load_key(key, DictSession) is None
        assert lease.is_held()
    assert "corrupt" not in site.events


@pytest.mark.parametrize("hash_ids", [True, False])
def test_what_cannot_be_an_id_reaches_no_store_outside_of_requests_either(
        hash_ids: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.store.hash_ids = hash_ids
    monkeypatch.setattr(site.store, "read", lambda key: pytest.fail("the store was asked"))
    for id in ("../../etc/passwd", "", "x" * 44):
        site.manager.delete(id)
        assert site.manager.load(id) is None
