"""`AdapterSuite` must catch every faulty adapter, by the tests that are meant to, and let a sound one pass."""

from __future__ import annotations

import http.client
import inspect
from pathlib import Path
from typing import Any

import pytest

from session2.testing import AdapterSuite
from session2.testing.adapter.foreign_cookies import HOSTILE, NEIGHBOURS

ADAPTERS = Path(__file__).with_name("plain_adapters.py")

CAUGHT_BY: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "saves_on_crash": [("crash_stores_nothing", {}), ("crash_cancels_a_login", {}), ("crash_cancels_a_logout", {})],
    "forgets_to_end_a_crash": [("crash_leaves_no_lock_behind", {})],
    "takes_404_for_a_crash": [("not_found_is_no_crash", {})],
    "takes_redirections_for_a_crash": [("redirection_is_no_crash", {})],
    "sends_the_cookie_always": [("cookie_is_sent_once", {})],
    "revokes_what_it_does_not_know": [("no_session_without_information", {"path": "/"}),
                                      ("dead_id_does_not_revoke_the_new_cookie", {}),
                                      ("hostile_cookie", {"value": HOSTILE["a device"]})],
    "fails_open": [("store_that_is_down", {})],
    "ignores_a_save_that_failed": [("store_that_goes_down_during_the_request", {"path": "/set?key=a&value=1"})],
    "adopts_ids": [("unknown_id_is_not_adopted", {})],
    "keeps_the_id_at_login": [("login_gives_a_new_id", {})],
    "lets_the_last_writer_win": [("parallel_requests_lose_nothing", {}), ("merge_rule_counts_every_request", {}),
                                 ("strict_refuses_the_second", {})],
    "restores_what_was_logged_out": [("logout_during_a_slow_request", {})],
    "locks_nothing": [("lock_makes_a_plain_counter_exact", {})],
    "shares_one_session": [("browsers_do_not_share", {})],
    "trusts_cookies_to_be_ascii": [("hostile_cookie", {"value": HOSTILE["bytes that are not ASCII"]})],
    "writes_what_a_cookie_says": [("hostile_cookie", {"value": HOSTILE["a file beside the store"]})],
    "drops_httponly": [("cookie_attributes", {}), ("cookie_policy", {})],
    "deletes_without_attributes": [("cookie_policy", {})],
    "does_not_know_of_https": [("cookie_attributes_https", {})],
    "knows_no_address": [("session_knows_where_it_came_from", {})],
    "sends_no_vary": [("first_information_begins_a_session", {})],
    "may_be_cached": [("first_information_begins_a_session", {})],
    "knows_one_cookie_name": [("two_cookies_do_not_interfere", {})],
    "trusts_the_last_cookie": [("of_two_cookies_the_one_that_lives_counts", {"stale": "bogus"}),
                               ("of_two_cookies_that_live_the_first_counts", {})],
    "trusts_the_first_cookie": [("of_two_cookies_the_one_that_lives_counts", {"stale": "x" * 43}),
                                ("login_beside_a_stale_cookie", {})],
    "takes_any_space_for_blanks": [("space_makes_another_name_of_ours", {})],
    "takes_the_order_of_cookies_for_chance": [("of_two_cookies_that_live_the_first_counts", {})],
    "expects_only_good_cookies": [("neighbours_do_not_hide_the_cookie", {"neighbour": NEIGHBOURS["JSON"]})],
}


class TestPlainServer(AdapterSuite):
    server = f"{ADAPTERS}:sound"
    threads = 20


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_fault_is_caught(fault: str, tmp_path: Path) -> None:
    class Faulty(TestPlainServer):
        server = f"{ADAPTERS}:{fault}"

    (tmp_path / "site").mkdir()
    with Faulty.start(tmp_path / "site", Faulty.processes) as site:
        for name, arguments in CAUGHT_BY[fault]:
            (tmp_path / name).mkdir()
            test = getattr(Faulty(), f"test_{name}")
            offered = {"site": site, "browser": site.browser(), "tmp_path": tmp_path / name, **arguments}
            wanted = {parameter: offered[parameter] for parameter in inspect.signature(test).parameters}
            with pytest.raises((AssertionError, http.client.HTTPException)):
                test(**wanted)
