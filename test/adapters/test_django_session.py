"""What Django documents of sessions, and what session2 promises, through the engine and either middleware."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import django_cases as cases
import django_shop
import pytest
from django.contrib.auth import update_session_auth_hash
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.core.exceptions import SynchronousOnlyOperation
from django.core.management import call_command
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, Client, RequestFactory
from django.test.utils import override_settings
from django_cases import AUTH, DJANGOS, NAME, OURS, Browser, Site, items, logs_in, logs_out, sets, user
from django_shop.models import User

import session2_django
from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    LockTimeout,
    Session,
    SessionConflict,
    SessionManager,
    tokens,
)
from session2.errors import StoreMissing
from session2_django import SessionMiddleware, SessionStore
from session2_django.exchange import DjangoExchange

DAY = 86400


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def browser(site: Site) -> Browser:
    return site.browser()


@pytest.fixture(params=[OURS, DJANGOS], ids=["ours", "Django's"])
def either(request: Any) -> Iterator[str]:
    """Use one middleware, then the other."""
    with override_settings(MIDDLEWARE=[request.param, AUTH]):
        yield request.param


def test_the_exchange_tells_what_a_session_asks_for() -> None:
    requests = RequestFactory(SCRIPT_NAME="/shop", REMOTE_ADDR="192.0.2.7", HTTP_COOKIE="c=1; c=2")
    post, put = (DjangoExchange(send("/", {"token": "x"})) for send in (requests.post, requests.put))
    assert (post.remote_address, post.script_name, post.is_secure) == ("192.0.2.7", "/shop", False)
    assert (post.get_cookie("c"), post.get_cookies("c"), post.get_cookie("d")) == ("1", ["1", "2"], None)
    assert (post.post_value("token"), post.post_value("other"), put.post_value("token")) == ("x", None, None)


# -- the promises, under both middlewares -----------------------------------------------------------------------------


@pytest.mark.usefixtures("either")
def test_two_requests_that_overlap_lose_nothing(browser: Browser) -> None:
    browser.get(sets(first=0))

    def slow(request: Any) -> None:
        request.session["a"] = 1
        browser.copy().get(sets(b=2))

    browser.get(slow)
    assert browser.get(items) == {"first": 0, "a": 1, "b": 2}


@pytest.mark.usefixtures("either")
def test_a_counter_with_a_rule_counts_both(browser: Browser) -> None:
    browser.get(sets(visits=1))

    def counts(request: Any) -> None:
        request.session["visits"] += 1

    def slow(request: Any) -> None:
        counts(request)
        browser.copy().get(counts)

    browser.get(slow)
    assert browser.get(items) == {"visits": 3}


def test_two_threads_of_a_request_that_look_at_once_have_one_session(
        site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    browser.get(sets(first=0))
    read, threads = site.store.read, []

    def writes(request: Any) -> None:
        def meanwhile(key: str) -> Any:
            if not threads:  # now the session is about to be opened
                threads.append(threading.Thread(target=request.session.update, args=({"b": 2},)))
                threads[0].start()
                threads[0].join(0.1)
            return read(key)

        monkeypatch.setattr(site.store, "read", meanwhile)
        request.session["a"] = 1
        threads[0].join()

    browser.get(writes)
    assert browser.get(items) == {"first": 0, "a": 1, "b": 2}


def test_a_logout_during_a_request_is_final_and_the_request_answered(site: Site, browser: Browser, either: str) -> None:
    browser.get(logs_in("ada"))

    def slow(request: Any) -> None:
        request.session["a"] = 1
        browser.copy().get(logs_out)

    late = browser.copy()
    late.get(slow, status=200 if either == OURS else 400)
    assert late.sent is None
    assert site.sessions == []
    assert browser.get(user) is None


@pytest.mark.usefixtures("either")
def test_a_login_gives_a_new_id_and_the_old_one_is_dead(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    before = browser.copy()
    browser.get(logs_in("ada"))
    assert browser.id != before.id
    assert browser.get(user) == "ada"
    assert browser.get(items)["a"] == 1
    assert before.get(items) == {}
    assert len(site.sessions) == 1


@pytest.mark.usefixtures("either")
def test_the_session_knows_the_user_and_is_revoked_by_it(site: Site, browser: Browser) -> None:
    phone, desktop, bob = browser, site.browser(), site.browser()
    for each, name in ((phone, "ada"), (desktop, "ada"), (bob, "bob")):
        each.get(logs_in(name))
    assert [session.user for session in site.manager.sessions_of("ada")] == ["ada", "ada"]
    assert site.manager.revoke_user("ada") == 2
    assert [each.get(user) for each in (phone, desktop, bob)] == [None, None, "bob"]


@pytest.mark.usefixtures("either")
def test_an_id_that_we_did_not_issue_is_never_adopted(site: Site) -> None:
    for planted in (tokens.new_id(), "a" * 32, "../../etc/passwd"):
        browser = site.browser(planted)
        browser.get(sets(a=1))
        assert browser.id != planted
        assert site.browser(planted).get(items) == {}


@pytest.mark.usefixtures("either")
def test_no_id_stands_in_the_store(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))
    assert browser.id is not None
    for key, record in site.store.scan():
        assert browser.id not in key
        assert browser.id.encode() not in record.data


@pytest.mark.usefixtures("either")
def test_a_new_password_ends_the_other_sessions_alone(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))

    def changes_password(request: Any) -> None:
        changed = User(name="ada", password="new")
        update_session_auth_hash(request, changed)

    before = browser.copy()
    browser.get(changes_password)
    assert browser.id != before.id
    assert before.get(items) == {}
    assert browser.get(items)["_auth_user_hash"] == User(name="ada", password="new").get_session_auth_hash()


@pytest.mark.usefixtures("either")
def test_what_other_frameworks_keep_stays(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    session = site.manager.load(browser.id)
    assert session is not None
    session.theme = "dark"  # type: ignore[attr-defined]
    site.manager.save(session)
    browser.get(logs_in("ada"))
    session = site.manager.load(browser.id)
    assert session is not None
    token = session.create_form_token()
    site.manager.save(session)
    browser.get(sets(b=2))
    (found,) = site.sessions
    assert found.theme == "dark"  # type: ignore[attr-defined]
    assert found.has_form_token(token)


@pytest.mark.usefixtures("either")
def test_who_logged_out_elsewhere_is_logged_out_here(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))
    browser.get(sets(a=1))
    elsewhere = site.manager.load(browser.id)
    assert elsewhere is not None
    elsewhere.set_user(None)
    site.manager.save(elsewhere)
    again = site.browser(elsewhere.id)
    assert again.get(user) is None
    assert again.get(items) == {"a": 1}


@pytest.mark.usefixtures("either")
def test_a_login_elsewhere_is_kept_and_nobodys_here_until_django_knows_it(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))
    browser.get(sets(a=1))
    elsewhere = site.manager.load(browser.id)
    assert elsewhere is not None
    elsewhere.set_user("bob")
    site.manager.save(elsewhere)
    again = site.browser(elsewhere.id)
    assert again.get(user) is None
    again.get(sets(b=2))
    assert [session.user for session in site.sessions] == ["bob"]
    again.get(logs_in("bob"))
    assert again.get(user) == "bob"
    assert {"a": 1, "b": 2}.items() <= again.get(items).items()


@pytest.mark.usefixtures("either")
def test_what_django_notes_of_a_login_is_no_item_elsewhere(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))
    browser.get(sets(a=1))
    assert [dict(session) for session in site.sessions] == [{"a": 1}]


def test_a_login_elsewhere_may_be_believed(site: Site) -> None:
    session = site.manager.new_session()
    session.set_user("ada")
    site.manager.save(session)
    with override_settings(MIDDLEWARE=[OURS, AUTH, "django_shop.views.BelievesTheSession"]):
        browser = site.browser(session.id)
        assert browser.get(user) == "ada"
        assert browser.sent is None
        browser.get(logs_out)
    assert site.sessions == []


@pytest.mark.usefixtures("either")
def test_a_login_that_is_over_is_not_revived_by_one_elsewhere(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))

    def clears(request: Any) -> None:
        request.session.clear()
        request.session["a"] = 1

    browser.get(clears)
    session = site.manager.load(browser.id)
    assert session is not None
    session.set_user("ada")
    site.manager.save(session)
    assert site.browser(session.id).get(user) is None


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("between", ["bob", None])
def test_a_login_of_django_is_over_when_somebody_logged_in_or_out_elsewhere(site: Site, browser: Browser,
                                                                           between: str | None) -> None:
    browser.get(logs_in("ada"))
    browser.get(sets(a=1))
    assert browser.get(user) == "ada"
    session = site.manager.load(browser.id)
    assert session is not None
    for name in (between, "ada"):
        session.set_user(name)
        site.manager.save(session)
    again = site.browser(session.id)
    assert again.get(user) is None
    again.get(logs_in("ada"))
    again.get(sets(a=2))
    assert again.get(user) == "ada"


@pytest.mark.usefixtures("either")
def test_a_session_that_only_a_form_token_is_in_is_not_touched(site: Site) -> None:
    session = site.manager.new_session()
    token = session.create_form_token()
    site.manager.save(session)
    site.browser(session.id).get(items)
    assert [found.has_form_token(token) for found in site.sessions] == [True]


def test_the_test_client_logs_in_and_out(site: Site) -> None:
    client = Client()
    client.force_login(User(name="ada"))
    assert [session.user for session in site.sessions] == ["ada"]
    session = client.session
    session["a"] = 1
    session.save()
    browser = site.browser(client.cookies[NAME].value)
    assert browser.get(user) == "ada"
    assert browser.get(items)["a"] == 1
    client.logout()
    assert site.sessions == []


# -- our middleware ---------------------------------------------------------------------------------------------------


def test_a_change_within_a_value_is_noticed(browser: Browser) -> None:
    browser.get(sets(basket=["tea"]))
    browser.get(lambda request: request.session["basket"].append("milk"))
    assert browser.get(items) == {"basket": ["tea", "milk"]}


def test_a_request_that_looks_at_nothing_costs_nothing(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    with site.store_is_away():
        browser.get(lambda request: None)
    assert "Vary" not in browser.response
    assert browser.sent is None


def test_no_cookie_is_sent_again_that_has_not_changed(browser: Browser) -> None:
    browser.get(sets(a=1))
    assert browser.sent["max-age"] == 14 * DAY
    for view in (items, sets(b=2), sets(b=3)):
        browser.get(view)
        assert browser.sent is None


def test_a_response_that_is_used_again_tells_nobody_the_id_of_another_visitor(site: Site) -> None:
    shared = HttpResponse("shared")
    shared.set_cookie("theme", "dark")

    def begins(request: Any) -> HttpResponse:
        request.session["a"] = 1
        return shared

    first, second = site.browser(), site.browser()
    first.get(begins)
    assert set(first.response.cookies) == {"theme", NAME}
    second.get(lambda request: shared)
    assert set(second.response.cookies) == {"theme"}


@pytest.mark.parametrize("cookie", [None, "x" * 43])
def test_a_stream_that_is_the_first_to_look_finds_the_session(browser: Browser, cookie: str | None) -> None:
    def chunks(request: Any) -> Iterator[str]:
        request.session["b"] = request.session.get("a", 0) + 1
        request.session.save()
        yield "b"

    browser.get(sets(a=1))
    more = {"HTTP_COOKIE": f"{NAME}={cookie}; {NAME}={browser.id}"} if cookie else {}
    browser.client.get("/", **{"shop.view": lambda request: StreamingHttpResponse(chunks(request))}, **more).getvalue()
    assert browser.get(items) == {"a": 1, "b": 2}


def test_a_crash_stores_nothing_and_cancels_login_and_logout(site: Site, browser: Browser) -> None:
    def crashes(view: cases.View) -> cases.View:
        def crash(request: Any) -> None:
            view(request)
            raise RuntimeError("on purpose")
        return crash

    browser.get(sets(a=1))
    browser.get(crashes(logs_in("ada")), status=500)
    browser.get(crashes(sets(a=2)), status=500)
    assert browser.sent is None
    assert browser.get(items) == {"a": 1}
    browser.get(logs_in("ada"))
    browser.get(crashes(logs_out), status=500)
    assert browser.get(user) == "ada"


def test_a_page_that_is_not_found_is_no_crash(browser: Browser) -> None:
    def misses(request: Any) -> None:
        request.session["a"] = 1
        raise Http404

    browser.get(misses, status=404)
    assert browser.get(items) == {"a": 1}


def test_the_id_that_a_view_sees_is_never_the_one_that_a_cookie_claims(site: Site) -> None:
    assert site.browser(tokens.new_id()).get(lambda request: request.session.session_key) is None


def test_create_gives_an_id_before_there_is_an_item(site: Site, browser: Browser) -> None:
    def cart(request: Any) -> Any:
        if not request.session.session_key:
            request.session.create()
        return request.session.session_key

    key = browser.get(cart)
    assert tokens.is_id(key)
    assert browser.id == key
    assert browser.get(cart) == key
    assert browser.get(items) == {}


def test_the_id_after_a_login_is_the_one_that_is_sent(browser: Browser) -> None:
    browser.get(sets(a=1))

    def login(request: Any) -> Any:
        logs_in("ada")(request)
        return request.session.session_key

    assert browser.get(login) == browser.id


def test_save_stores_at_once(site: Site, browser: Browser) -> None:
    def crashes_later(request: Any) -> None:
        request.session["a"] = 1
        request.session.save()
        assert [dict(session) for session in site.sessions] == [{"a": 1}]
        raise RuntimeError("on purpose")

    browser.get(crashes_later, status=500)
    assert browser.get(items) == {"a": 1}


def test_flush_begins_another_session(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    before = browser.copy()

    def flushes(request: Any) -> None:
        request.session.flush()
        request.session["b"] = 2

    browser.get(flushes)
    assert browser.get(items) == {"b": 2}
    assert before.get(items) == {}
    assert len(site.sessions) == 1


def test_delete_ends_the_session_of_the_request_and_another_one(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    other = site.browser()
    other.get(sets(a=2))
    browser.get(lambda request: request.session.delete(other.id))
    assert other.get(items) == {}
    browser.get(lambda request: request.session.delete())
    assert site.sessions == []


def test_clear_takes_everything_and_the_user(site: Site, browser: Browser) -> None:
    browser.get(logs_in("ada"))
    browser.get(lambda request: request.session.clear())
    assert site.sessions == []


def test_flush_clears_site_data(browser: Browser) -> None:
    browser.get(sets(a=1))
    browser.get(lambda request: request.session.flush(clear_site_data=True))
    assert browser.response["Clear-Site-Data"] == '"cache", "cookies", "storage"'


def test_a_session_that_a_view_puts_in_its_place_is_treated_as_by_django(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    other = site.browser()
    other.get(sets(b=2))

    def switches(request: Any) -> None:
        request.session["lost"] = True
        request.session = SessionStore(other.id)
        request.session["c"] = 3

    browser.get(switches)
    assert browser.id == other.id
    assert browser.get(items) == {"b": 2, "c": 3}


def test_what_is_changed_behind_the_response_can_still_be_saved(site: Site, browser: Browser) -> None:
    kept: list[Any] = []
    browser.get(lambda request: kept.append(request.session) or sets(a=1)(request))
    kept[0]["b"] = 2
    kept[0].save()
    assert browser.get(items) == {"a": 1, "b": 2}


def test_a_request_that_is_cut_off_frees_its_lock() -> None:
    site = Site(concurrency="lock", lock_timeout=0.1)
    browser = site.browser()
    browser.get(sets(a=1))

    def cut_off(request: Any) -> None:
        request.session["a"] = 2
        raise SystemExit

    with pytest.raises(SystemExit):
        browser.get(cut_off)
    assert browser.get(items) == {"a": 1}


def test_an_unavailable_store_is_503_in_a_view_and_in_another_middleware(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    with site.store_is_away():
        browser.get(items, status=503)
        assert browser.response.content == b"Sessions are not available at the moment."
        assert browser.response["Vary"] == "Cookie"
        with override_settings(MIDDLEWARE=[OURS, "django_shop.views.LooksAtTheSession"]):
            browser.copy().get(items, status=503)
    assert browser.get(items) == {"a": 1}


def test_a_lock_that_is_not_free_is_503_with_retry_after() -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    browser = site.browser()
    browser.get(sets(a=1))
    assert browser.id is not None
    with site.manager.lock(browser.id):
        browser.get(items, status=503)
    assert browser.response["Retry-After"] == str(LockTimeout.retry_after)


def test_a_read_only_request_may_look_at_a_login_of_elsewhere() -> None:
    site = Site()
    browser = site.browser()
    browser.get(logs_in("ada"))
    session = site.manager.load(browser.id)
    assert session is not None
    session.set_user("bob")
    site.manager.save(session)
    site.manager.concurrency = "read-only"
    assert "_auth_user_id" not in site.browser(session.id).get(items)


def test_a_conflict_in_a_view_is_409_and_stores_nothing(browser: Browser) -> None:
    browser.get(sets(a=1))

    def conflicts(request: Any) -> None:
        request.session["b"] = 2
        raise SessionConflict("as of a session that the view itself saved")

    browser.get(conflicts, status=409)
    assert browser.get(items) == {"a": 1}


# -- clocks and the cookie --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("longer", [30 * DAY, timedelta(days=30)], ids=repr)
def test_set_expiry_outlives_the_clock_of_the_manager(longer: Any) -> None:
    site = Site(idle_timeout=1800)
    browser = site.browser()

    def remember(request: Any) -> None:
        request.session["a"] = 1
        request.session.set_expiry(longer)

    browser.get(remember)
    assert browser.sent["max-age"] in (30 * DAY, 30 * DAY - 1)
    site.clock.advance(29 * DAY)
    assert browser.get(items)["a"] == 1
    site.clock.advance(30 * DAY + 1)
    assert browser.get(items) == {}


def test_seconds_count_from_the_last_use_and_a_moment_does_not() -> None:
    site = Site()
    one, two = site.browser(), site.browser()
    one.get(lambda request: request.session.set_expiry(600))
    two.get(lambda request: request.session.set_expiry(timedelta(seconds=600)))
    for _ in range(2):
        site.clock.advance(400)
        found = [browser.get(lambda request: "_session_expiry" in request.session) for browser in (one, two)]
    assert found == [True, False]


def test_the_lifetime_of_the_manager_ends_a_session_in_any_case() -> None:
    site = Site(lifetime=60 * DAY)
    for expiry in (365 * DAY, timedelta(days=365)):
        browser = site.browser()
        browser.get(lambda request, expiry=expiry: request.session.set_expiry(expiry))
        assert [session.expires for session in site.sessions] == [site.clock() + 60 * DAY]
        site.clock.advance(61 * DAY)
        assert browser.get(items) == {}


def test_a_look_at_a_session_with_an_expiry_writes_nothing(site: Site, browser: Browser) -> None:
    browser.get(lambda request: request.session.set_expiry(30 * DAY))
    before = list(site.store.scan())
    site.clock.advance(10)
    browser.get(items)
    assert list(site.store.scan()) == before
    site.clock.advance(301)
    browser.get(items)
    assert list(site.store.scan()) != before


def test_a_session_of_another_manager_ends_by_our_clock(site: Site) -> None:
    generous = SessionManager(site.store, DictSession, idle_timeout=80 * DAY)
    session = generous.new_session()
    session["a"] = 1
    generous.save(session)
    site.clock.advance(20 * DAY)
    assert site.browser(session.id).get(items) == {}
    assert SessionStore(session.id).load() == {}


def test_an_expiry_that_is_over_ends_the_session_though_another_framework_prolonged_it(site: Site,
                                                                                        browser: Browser) -> None:
    browser.get(lambda request: request.session.set_expiry(10))
    elsewhere = site.manager.load(browser.id)
    assert elsewhere is not None
    elsewhere["a"] = 1
    site.manager.save(elsewhere)
    site.clock.advance(11)
    assert browser.get(items) == {}


def test_an_expiry_that_changes_is_told_the_browser(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    browser.get(lambda request: request.session.set_expiry(0))
    assert browser.sent["max-age"] == ""
    browser.get(lambda request: request.session.set_expiry(600))
    assert browser.sent["max-age"] == 600
    browser.get(lambda request: request.session.set_expiry(None))
    assert browser.sent["max-age"] == 14 * DAY
    browser.get(lambda request: request.session.set_expiry(-5))
    assert browser.sent["max-age"] == 1
    site.clock.advance(1)
    assert browser.get(items) == {}


def test_an_expiry_set_too_late_does_not_disturb_the_cookie_of_a_login(site: Site, browser: Browser) -> None:
    browser.get(sets(a=1))
    late = browser.copy()
    browser.get(logs_in("ada"))
    late.get(lambda request: request.session.set_expiry(600))
    assert late.sent is None
    assert len(site.sessions) == 1


def test_the_cookie_is_what_the_settings_say(site: Site) -> None:
    with override_settings(SESSION_COOKIE_DOMAIN=".shop.example", SESSION_COOKIE_PATH="/shop",
                           SESSION_COOKIE_SECURE=True, SESSION_COOKIE_HTTPONLY=False, SESSION_COOKIE_SAMESITE="Strict",
                           SESSION_EXPIRE_AT_BROWSER_CLOSE=True):
        browser = site.browser()
        browser.get(sets(a=1))
    found = {name: value for name, value in browser.sent.items() if value}
    assert found == {"domain": ".shop.example", "path": "/shop", "secure": True, "samesite": "Strict"}
    assert browser.response["Vary"] == "Cookie"
    assert browser.response["Cache-Control"] == "no-store"


def test_over_https_the_cookie_is_secure_unless_that_is_switched_off(site: Site) -> None:
    browser = site.browser()
    browser.get(sets(a=1), secure=True)
    assert browser.sent["secure"] is True
    with override_settings(SESSION_COOKIE_SECURE=False):
        browser = site.browser()
        browser.get(sets(a=1), secure=True)
        assert browser.sent["secure"] == ""


def test_the_policy_of_a_manager_counts_and_set_expiry_too() -> None:
    site = Site(cookie=CookiePolicy(NAME, max_age=1000))
    browser = site.browser()
    browser.get(sets(a=1))
    assert browser.sent["max-age"] == 1000
    browser.get(lambda request: request.session.set_expiry(600))
    assert browser.sent["max-age"] == 600
    browser.get(lambda request: request.session.set_expiry(0))
    assert browser.sent["max-age"] == ""


def test_the_cookie_age_is_the_idle_clock_of_the_manager_that_is_made() -> None:
    with override_settings(SESSION2_MANAGER=None, SESSION2_STORE="volatile:", SESSION_COOKIE_AGE=100 * DAY):
        clocks = session2_django.current_manager().clocks
        assert (clocks.idle, clocks.lifetime) == (100 * DAY, 100 * DAY)
        with override_settings(SESSION_COOKIE_AGE=1800, SESSION_SAVE_EVERY_REQUEST=True):
            other = session2_django.current_manager()
            assert (other.clocks.idle, other.clocks.lifetime, other.clocks.touch_interval) == (1800, 90 * DAY, 0)
            assert SessionStore().get_expiry_age() == 1800
        assert other.store is session2_django.current_manager().store


def test_save_every_request_moves_clock_and_cookie_although_nobody_looks() -> None:
    site = Site(touch_interval=0)
    browser = site.browser()
    browser.get(sets(a=1))
    site.clock.advance(1)
    with override_settings(SESSION_SAVE_EVERY_REQUEST=True):
        browser.get(lambda request: None)
    assert browser.sent is not None
    assert [session.get_access_time() for session in site.sessions] == [site.clock()]


# -- out of requests --------------------------------------------------------------------------------------------------


def test_save_of_an_ended_session_is_an_update_error(site: Site) -> None:
    store = SessionStore()
    store["a"] = 1
    store.save()
    late = SessionStore(store.session_key)
    late["b"] = 2
    SessionStore(store.session_key).flush()
    with pytest.raises(UpdateError):
        late.save()
    assert site.sessions == []


def test_save_that_must_create_refuses_an_id_that_is_taken(site: Site) -> None:
    store = SessionStore()
    store.save()
    twin = SessionStore(store.session_key)
    with pytest.raises(CreateError):
        twin.save(must_create=True)


def test_what_is_created_holds_nothing_of_the_session_whose_id_was_given(site: Site) -> None:
    store = SessionStore()
    store["a"] = 1
    store.save()
    another = SessionStore(store.session_key)
    another.create()
    assert another.session_key != store.session_key
    assert SessionStore(another.session_key).load() == {}
    assert SessionStore(store.session_key).load() == {"a": 1}


def test_a_key_that_is_deleted_is_never_restored_by_cycle_key(site: Site) -> None:
    store = SessionStore()
    store["a"] = 1
    store.save()
    late = SessionStore(store.session_key)
    assert late["a"] == 1
    SessionStore(store.session_key).flush()
    late.cycle_key()
    assert site.sessions == []


def test_clearsessions_removes_what_has_expired(site: Site) -> None:
    for expiry in (3600, -3600, None):
        store = SessionStore()
        store["a"] = 1
        store.set_expiry(expiry)
        store.save()
    site.clock.advance(1)
    assert len(site.store._records) == 3
    call_command("clearsessions")
    assert len(site.store._records) == 2


def test_what_could_be_no_id_of_ours_is_no_session_key() -> None:
    for key in ("12345678", "a" * 32, "../../etc/passwd", "", None):
        assert SessionStore(key).session_key is None


# -- async ------------------------------------------------------------------------------------------------------------


def answered(view: Any, cookie: str | None = None) -> Any:
    """Return what an asynchronous view is answered with."""
    request = AsyncRequestFactory().get("/", headers={"Cookie": f"{NAME}={cookie}"} if cookie else None)

    async def page(request: Any) -> HttpResponse:
        await view(request)
        return HttpResponse("page")

    return asyncio.run(SessionMiddleware(page)(request))


@pytest.mark.skipif(not hasattr(SessionStore, "aget"), reason="Django has asynchronous sessions from 5.1 on")
def test_an_asynchronous_view_has_its_session(site: Site) -> None:
    async def begins(request: Any) -> None:
        assert await request.session.aget("a") is None
        await request.session.aset("a", 1)

    async def cycles(request: Any) -> None:
        assert await request.session.aget("a") == 1
        await request.session.acycle_key()

    async def flushes(request: Any) -> None:
        await request.session.aflush()

    first = answered(begins).cookies[NAME].value
    second = answered(cycles, first).cookies[NAME].value
    assert [dict(session) for session in site.sessions] == [{"a": 1}]
    assert SessionStore(first).load() == {}
    answered(flushes, second)
    assert site.sessions == []


def test_a_blocking_look_in_an_asynchronous_view_is_refused(site: Site) -> None:
    store = SessionStore()
    store.save()

    async def blocks(request: Any) -> None:
        with pytest.raises(SynchronousOnlyOperation):
            request.session.get("a")

    assert answered(blocks, store.session_key).status_code == 200


def test_an_asynchronous_request_that_is_cancelled_frees_its_lock() -> None:
    site = Site(concurrency="lock", lock_timeout=0.1)
    store = SessionStore()
    store.save()

    async def cancelled(request: Any) -> None:
        await request.session._aget_session()
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        answered(cancelled, store.session_key)
    site.browser(store.session_key).get(items)


def test_an_asynchronous_request_that_is_cancelled_while_it_waits_for_a_lock_leaves_none() -> None:
    site = Site(concurrency="lock", lock_timeout=5)
    store = SessionStore()
    store.save()
    arrived, gate, taken, take = *(threading.Event() for _ in range(3)), site.store.lock

    def slow(*arguments: Any, **options: Any) -> Any:
        arrived.set()
        assert gate.wait(60)
        lease = take(*arguments, **options)
        taken.set()
        return lease

    async def cancelled(request: Any) -> None:
        looking = asyncio.create_task(request.session._aget_session())
        await asyncio.to_thread(arrived.wait, 60)
        looking.cancel()
        await looking

    site.store.lock = slow  # type: ignore[method-assign]
    try:
        with pytest.raises(asyncio.CancelledError):
            answered(cancelled, store.session_key)
    finally:
        gate.set()
    assert taken.wait(60)
    site.browser(store.session_key).get(items)


def test_a_look_that_begins_when_the_request_was_cancelled_leaves_no_lock() -> None:
    site = Site(concurrency="lock", lock_timeout=0)
    store = SessionStore()
    store["a"] = 1
    store.save()

    def cancelled(request: Any) -> HttpResponse:
        raise KeyboardInterrupt

    request = RequestFactory().get("/", headers={"Cookie": f"{NAME}={store.session_key}"})
    with pytest.raises(KeyboardInterrupt):
        SessionMiddleware(cancelled)(request)
    assert request.session["a"] == 1
    assert site.browser(store.session_key).get(items) == {"a": 1}


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "words"), [
    ({"SESSION2_MANAGER": None}, "SESSION2_STORE"),
    ({"SESSION2_MANAGER": None, "SESSION2_STORE": "sqlit:x"}, "did you mean 'sqlite'"),
    ({"SESSION2_MANAGER": "django_shop.manger"}, "SESSION2_MANAGER: .*manger"),
    ({"SESSION2_MANAGER": "django_shop.configure"}, "must name a session2.SessionManager"),
    ({"SESSION_ENGINE": "django.contrib.sessions.backends.file"}, "needs SESSION_ENGINE"),
    ({"SESSION_COOKIE_NAME": "__Host-shop", "SESSION_COOKIE_SECURE": False}, "needs secure=True"),
    ({"SESSION2_MANAGER": None, "SESSION2_STORE": "volatile:", "SESSION_COOKIE_AGE": None}, "SESSION_COOKIE_AGE"),
])
@pytest.mark.usefixtures("site")
def test_settings_that_cannot_work_stop_the_server_at_its_start(settings: dict[str, Any], words: str) -> None:
    with override_settings(**settings), pytest.raises(ConfigurationError, match=words):
        SessionMiddleware(lambda request: HttpResponse())


def test_a_manager_of_sessions_without_items_serves_with_items(site: Site) -> None:
    class Attributes(Session):
        pass

    django_shop.manager = SessionManager(site.store, Session)
    SessionStore().save()
    assert [type(session) for session in site.sessions] == [cases.ShopSession]
    django_shop.manager = SessionManager(site.store, Attributes)
    with pytest.raises(ConfigurationError, match="derive Attributes from DictSession"):
        SessionStore().save()


def test_a_store_that_is_missing_stops_the_server_at_its_start(tmp_path: Path) -> None:
    url = f"directory:{tmp_path}/nowhere"
    with override_settings(SESSION2_MANAGER=None, SESSION2_STORE=url), pytest.raises(StoreMissing):
        SessionMiddleware(lambda request: HttpResponse())


def test_a_store_that_is_down_does_not_stop_the_server(caplog: pytest.LogCaptureFixture) -> None:
    url = "mysql://user@127.0.0.1:1/shop"
    with override_settings(SESSION2_MANAGER=None, SESSION2_STORE=url), caplog.at_level(logging.WARNING):
        middleware = SessionMiddleware(lambda request: HttpResponse("page"))
        assert middleware(RequestFactory().get("/")).status_code == 200
    assert "not available yet" in caplog.text


def test_without_django_the_extra_is_named() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-S", "-c", "import session2_django"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "adapters")])})
    assert "ConfigurationError: session2_django needs Django: pip install 'session2[django]'" in done.stderr


def test_the_engine_is_found_where_django_looks() -> None:
    assert import_module("session2_django").SessionStore is SessionStore


@pytest.mark.parametrize("header", ["", "a=1", "\xa0a=1", "a=\xff"])
def test_a_cookie_that_a_middleware_put_there_counts(header: str) -> None:
    request = RequestFactory().get("/", headers={"cookie": header})
    request.COOKIES[NAME] = "put there"
    assert DjangoExchange(request).get_cookies(NAME) == ["put there"]


@pytest.mark.parametrize("make", [RequestFactory, AsyncRequestFactory])
def test_a_cookie_whose_name_django_trims_does_not_count(make: Any) -> None:
    request = make().get("/", headers={"cookie": f'a=1; \xe2\x80\x80{NAME}="\\101"; \xa0{NAME}=b'})
    assert request.COOKIES[NAME].strip(",") in ("A", "b")
    assert DjangoExchange(request).get_cookies(NAME) == []
