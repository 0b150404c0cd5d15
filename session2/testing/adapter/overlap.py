"""Requests that overlap: what every adapter must do of `session2.testing.AdapterSuite`, part two.

None of these tests waits for time to pass: requests that are to overlap meet at a `Gate`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..store.claims import needs_merging
from .browser import Browser
from .gate import Gate
from .served import MANY, ServedTests
from .website import in_parallel


class OverlapTests(ServedTests):
    """Many requests of one session at the same time, on several servers."""

    @needs_merging
    def test_parallel_requests_lose_nothing(self, browser: Browser) -> None:
        browser.get("/set", key="first", value="0")
        requests = [("/set", {"key": f"key{number}", "value": number}) for number in range(MANY)]
        with Gate() as gate:
            in_parallel(browser, requests, self.workers, gate)
        expected = {"first": "0", **{f"key{number}": str(number) for number in range(MANY)}}
        assert browser.get("/items").json() == expected

    @needs_merging
    def test_merge_rule_counts_every_request(self, browser: Browser) -> None:
        browser.get("/visit")
        with Gate() as gate:
            in_parallel(browser, [("/visit", {})] * MANY, self.workers, gate)
        assert browser.get("/items").json() == {"visits": MANY + 1}

    @needs_merging
    def test_lock_makes_a_plain_counter_exact(self, tmp_path: Path) -> None:
        with self.start(tmp_path, self.processes, concurrency="lock") as site, Gate() as gate:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            with ThreadPoolExecutor(1) as pool:
                passing = pool.submit(gate.pass_in_groups, MANY, 1)
                in_parallel(browser, [("/increment", {"gate": gate.port})] * MANY, self.workers)
                passing.result()
            assert browser.get("/items").json() == {"a": "1", "count": MANY}

    @needs_merging
    def test_strict_refuses_the_second(self, tmp_path: Path) -> None:
        with self.start(tmp_path, 2, concurrency="strict") as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            with self.slow(browser.copy(), "/set?key=b&value=late&gate={}", self.conflict_status) as (gate, _):
                browser.get("/set", server=1, key="b", value="early")
                gate.open()
            assert browser.get("/items").json() == {"a": "1", "b": "early"}

    def test_read_only_refuses_a_change(self, tmp_path: Path) -> None:
        with self.start(tmp_path, concurrency="read-only") as site:
            browser = site.browser()
            browser.get("/set", status=500, key="a", value="1")
            assert browser.sent(browser.get("/get", key="a")) is None
            assert site.keys() == set()

    def test_logout_during_a_slow_request(self, browser: Browser) -> None:
        before = browser.site.keys()
        browser.get("/login", user="ada")
        late = browser.copy()
        with self.slow(late, "/set?key=a&value=1&gate={}") as (gate, sent):
            browser.get("/logout", server=1)
            gate.open()
        assert late.sent(sent.result()) is None, "the answer to the old id could disturb the cookie of another login"
        self.assert_dead(late)
        assert browser.site.keys() == before

    def test_login_during_a_slow_request(self, browser: Browser) -> None:
        browser.get("/set", key="a", value="1")
        late = browser.copy()
        with self.slow(late, "/set?key=a&value=late&gate={}") as (gate, sent):
            browser.get("/login", server=1, user="ada")
            gate.open()
        assert late.sent(sent.result()) is None, "the answer to the old id disturbs the new cookie"
        assert browser.get("/user").text == "ada"
        self.assert_dead(late)

    @needs_merging
    def test_crash_leaves_no_lock_behind(self, tmp_path: Path) -> None:
        with self.start(tmp_path, 2, concurrency="lock", lock_timeout=5) as site:
            browser = site.browser()
            browser.get("/set", key="a", value="1")
            browser.get("/fail", status=500, key="a", value="2")
            assert browser.get("/get", server=1, key="a").text == "1"
            browser.get("/missing", status=404, key="a", value="3")
            assert browser.get("/get", server=1, key="a").text == "3"
            assert {key for key, _ in site.store.scan()} == site.keys()

    @needs_merging
    def test_renewal_logs_nobody_out(self, tmp_path: Path) -> None:
        options = {"renew_after": 600, "renew_grace": 60}
        with self.start(tmp_path, self.processes, **options) as site, Gate() as gate:
            browser = site.browser()
            browser.get("/login", user="ada")
            old = browser.copy()
            site.clock.advance(601)
            browsers = in_parallel(browser, [("/user", {})] * MANY, self.workers, gate)
            assert [other.get("/user").text for other in browsers] == ["ada"] * MANY
            assert old.id not in [other.id for other in browsers]
            assert old.get("/user").text == "ada", "the old id serves for another minute"
            assert len(site.keys()) == 1

    @needs_merging
    def test_renewed_id_dies_after_the_grace(self, tmp_path: Path) -> None:
        with self.start(tmp_path, renew_after=600, renew_grace=60) as site:
            browser = site.browser()
            browser.get("/login", user="ada")
            old = browser.copy()
            site.clock.advance(601)
            browser.get("/user")
            assert browser.id != old.id
            site.clock.advance(61)
            assert browser.get("/user").text == "ada"
            self.assert_dead(old)
