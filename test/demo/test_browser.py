"""The demonstration in a real browser: what people see, by mouse, by keyboard, without scripts, in the dark."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from running_demo import COOKIE, demo

PHONE = {"width": 390, "height": 844}

WAYS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": PHONE, "is_mobile": True, "has_touch": True},
    "without scripts": {"java_script_enabled": False},
}

PAGES = ["/", "/devices", "/labs", "/admin", "/original/", "/nothing"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with demo(tmp_path_factory.mktemp("demo"), "directory") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-software-rasterizer"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, running):
    """Open the first page in a browser of its own; at the end of the test its console must be clean."""
    complaints = []

    @contextmanager
    def opened(path: str = "/", **options) -> Iterator[Page]:
        context = chromium.new_context(base_url=running.first.url, reduced_motion="reduce", **options)
        try:
            page = context.new_page()
            page.set_default_timeout(20_000)
            page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning")
                    else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(path)
            yield page
        finally:
            context.close()

    yield opened
    # A page with such a status is what was asked for.
    assert [text for text in complaints if not re.search(r"status of (404|500|403)", text)] == []


def log_in(page: Page, name: str = "anne") -> None:
    page.goto("/")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"The session of {name}")


def press(page: Page, button: str, says: str | None = None) -> None:
    page.get_by_role("button", name=button, exact=True).click()
    if says is not None:
        expect(page.get_by_role("status").first).to_contain_text(says)


def fact(page: Page, name: str):
    return page.locator("dt", has_text=re.compile(f"^{name}")).locator("xpath=following-sibling::dd")


# -- for everybody -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["light", "dark", "phone"])
def test_nothing_is_in_the_way_of_anybody(visit, running, way):
    """By the rules of axe-core: contrast, labels, landmarks, names; on every page, with and without a session."""
    found = []

    def look(page: Page) -> None:
        for each in Axe().run(page).response["violations"]:
            found.append(f"{page.url}: {each['id']}: {each['nodes'][0]['html'][:200]}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{page.url} is too wide"

    with visit(**WAYS[way]) as page:
        look(page)
        log_in(page)
        page.get_by_label("Key").fill("colour")
        press(page, "Set", "stored")
        page.get_by_text("The bytes").click()
        for path in PAGES:
            page.goto(path)
            look(page)
        page.goto("/")
        press(page, "Add one and crash")
        look(page)
        page.goto("/admin")
        page.get_by_label("Password").fill(running.password)
        press(page, "Log in", "Welcome")
        look(page)
    assert found == []


def test_all_is_reached_by_keyboard_and_what_has_the_focus_is_seen(visit):
    with visit() as page:
        page.keyboard.press("Tab")
        expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Name")).to_be_focused()
        page.keyboard.type("keys")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("The session of .*keys"))
        buttons = page.get_by_role("button").all()
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.tagName === 'BUTTON' ? (document.activeElement.ariaLabel ||"
                                 "document.activeElement.textContent) : ''")
            reached.add(name)
            assert not name or page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert len(reached - {""}) == len(buttons)


@pytest.mark.parametrize("way", ["phone", "without scripts"])
def test_the_session_is_begun_changed_and_ended(visit, way):
    with visit(**WAYS[way]) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("No session")
        assert page.context.cookies() == []
        press(page, "Begin a session", "begun")
        begun = cookie(page)
        assert begun["httpOnly"]
        assert begun["sameSite"] == "Lax"
        press(page, "Add one to the counter", "added")
        page.get_by_label("Key").fill("<b>")
        page.get_by_label("Value").fill("&")
        press(page, "Set", "stored")
        expect(fact(page, "<b>")).to_contain_text("&")
        assert cookie(page) == begun
        log_in(page)
        assert cookie(page)["value"] != begun["value"]
        expect(fact(page, "Counter")).to_contain_text("1")
        press(page, "Remove <b>", "gone")
        for button, said in {"Rotate": "new id", "Renew": "new id"}.items():
            before = cookie(page)["value"]
            press(page, button, said)
            assert cookie(page)["value"] != before
            expect(fact(page, "Id")).to_have_text(cookie(page)["value"][:6] + "…")
        press(page, "Log out", "Logged out")
        assert page.context.cookies() == []


def cookie(page: Page) -> dict:
    [found] = [each for each in page.context.cookies() if each["name"] == COOKIE]
    return {**found, "value": found["value"].strip('"')}  # Quixote quotes


def test_the_bar_leads_to_every_framework_in_the_same_session(visit, running):
    with visit() as page:
        log_in(page)
        for name, server in running.servers.items():
            page.get_by_role("navigation", name="Frameworks").get_by_role("link", name=name).click()
            assert page.url == server.url
            expect(page.get_by_role("heading", level=1)).to_have_text("The session of anne")
            press(page, "Add one to the counter", "added")
        expect(fact(page, "Counter")).to_contain_text(str(len(running.servers)))


@pytest.mark.parametrize("way", ["light", "without scripts"])
def test_errors_on_purpose_show_what_is_left_and_lead_back(visit, way):
    with visit(**WAYS[way]) as page:
        log_in(page)
        press(page, "Add one and crash")
        expect(fact(page, "Counter in the request")).to_have_text("1")
        expect(fact(page, "Counter in the store")).to_have_text("0")
        page.get_by_role("link", name="Back to the session").click()
        expect(fact(page, "Counter")).to_contain_text("0")
        press(page, "Log out and crash")
        expect(page.get_by_role("heading", level=1)).to_have_text("It crashed, and you are still here")
        page.get_by_role("link", name="Back to the session").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("The session of anne")


def test_the_clocks_tick_and_ask_nobody(visit):
    with visit() as page:
        page.clock.install()
        log_in(page, "ticking")
        left = page.locator(".clock .left")
        expect(left.nth(2)).to_contain_text(re.compile("14 minutes|15 minutes"))
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.clock.fast_forward("10:00")
        expect(left.nth(2)).to_contain_text(re.compile("[45] minutes"))
        page.clock.fast_forward("05:01")
        expect(left.nth(2)).to_have_text("over: load the page again")
        assert asked == []


# -- my devices, admin -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["without scripts"])
def test_devices_are_seen_and_ended_from_each_other(visit, way):
    phone = "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0"
    with visit(**WAYS[way]) as desk, visit(user_agent=phone, **WAYS[way]) as pocket, visit(**WAYS[way]) as third:
        for page in (desk, pocket, third):
            log_in(page, f"bea {way}")
        desk.goto("/devices")
        expect(desk.locator(".devices > li")).to_have_count(3)
        expect(desk.locator(".devices > li").first).to_contain_text("this one")
        ended = desk.locator("li", has_text="Firefox on Android")
        expect(ended).to_contain_text("127.0.0.1")
        ended.get_by_role("button").click()
        expect(desk.get_by_role("status")).to_contain_text("ended")
        pocket.reload()
        expect(pocket.get_by_text("Your session was ended")).to_be_visible()
        press(desk, "Log out everywhere else", "ended")
        expect(desk.locator(".devices > li")).to_have_count(1)
        third.reload()
        expect(third.get_by_role("heading", level=1)).to_have_text("No session")


def test_nobody_ends_the_session_of_somebody_else(visit):
    with visit() as mine, visit() as yours:
        log_in(mine, "carl")
        log_in(yours, "dora")
        yours.goto("/devices")
        key = yours.locator('input[name="key"]').get_attribute("value")
        mine.goto("/devices")
        mine.evaluate("key => document.querySelector('input[name=\"key\"]').value = key", key)
        mine.get_by_role("button", name=re.compile("^End the session")).click()
        expect(mine.get_by_role("heading", level=1)).to_have_text("My devices")
        yours.goto("/")
        expect(yours.get_by_role("heading", level=1)).to_have_text("The session of dora")


@pytest.mark.parametrize("way", ["without scripts"])
def test_the_administrator_sees_counts_and_ends_sessions_but_no_id(visit, running, way):
    with visit("/admin", **WAYS[way]) as admin, visit(**WAYS[way]) as visitor:
        log_in(visitor, f"emil {way}")
        page = admin
        for password in ("", "admin", running.password.lower() + "x"):
            page.get_by_label("Password").fill(password or " ")
            press(page, "Log in", "not the password")
        page.get_by_label("Password").fill(running.password)
        press(page, "Log in", "Welcome")
        assert int(fact(page, "Sessions").inner_text()) >= 2
        secret = {cookie(each)["value"] for each in (admin, visitor)}
        assert not [id for id in secret if id in page.content()]
        press(page, f"End all sessions of emil {way}", "Ended")
        visitor.reload()
        expect(visitor.get_by_text("Your session was ended")).to_be_visible()
        press(page, "Purge what has expired", "deleted")
        press(page, "Leave", "no administrator")
        expect(page.get_by_label("Password")).to_be_visible()


def test_only_the_administrator_may_do_what_that_page_does(visit, running):
    with visit() as page:
        log_in(page, "fritz")
        session_id = cookie(page)["value"]
        for path in ("/admin/user", "/admin/end", "/admin/purge"):
            answer = running.first.post(path, session_id, user="fritz")
            assert (answer.status_code, answer.headers["location"]) == (303, "/admin")
        page.reload()
        expect(page.get_by_role("heading", level=1)).to_have_text("The session of fritz")


# -- the race lab ------------------------------------------------------------------------------------------------------


def results(page: Page) -> dict[str, tuple[int, int]]:
    """Return by mode what was kept, and where the counter is."""
    expect(page.locator(".result", has_text="counter")).to_have_count(3, timeout=60_000)
    found = {}
    for mode in page.locator(".mode").all():
        said = re.match(r"(\d+) of 50 kept, the counter is at (\d+)", mode.locator(".result").inner_text())
        kept, counter = said.groups()
        assert mode.locator(".cells .kept").count() == int(kept)
        assert mode.locator(".cells .lost").count() == 50 - int(kept)
        found[mode.get_attribute("data-mode")] = int(kept), int(counter)
    return found


def test_the_browser_fires_requests_at_all_frameworks_at_once_and_merge_and_lock_lose_none(visit, running):
    with visit("/labs") as page:
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        press(page, "Run the race")
        found = results(page)
        assert found["merge"] == found["lock"] == (50, 50)
        assert found["blind"][0] < 40
        assert found["blind"][1] < 40
        expect(page.locator("#lab-race").get_by_role("status")).to_contain_text("Merge: 50 of 50 kept")
        added = [url for url in asked if url.endswith("/lab/add")]
        assert len(added) == 150
        assert {url.removesuffix("lab/add") for url in added} == {server.url for server in running.servers.values()}
        press(page, "Run the race")  # once more, in the session that has begun
        expect(page.get_by_role("button", name="Run the race")).to_be_enabled(timeout=60_000)
        assert results(page)["merge"] == (50, 50)


def test_the_race_runs_without_scripts(visit):
    with visit("/labs", **WAYS["without scripts"]) as page:
        press(page, "Run the race")
        found = results(page)
        assert found["merge"] == found["lock"] == (50, 50)
        assert found["blind"][0] < 40
        page.get_by_role("link", name="Back to the race lab").click()


@pytest.mark.parametrize("way", ["light", "without scripts"])
def test_a_logout_is_final_and_of_two_logins_one_has_the_session(visit, way):
    for button, steps, verdict in (("Run the slow request against a logout", 2, "The logout is final."),
                                   ("Run two logins at once", 2, "One login was first")):
        with visit("/labs", **WAYS[way]) as page:
            press(page, button)
            expect(page.locator(".verdict")).to_contain_text(verdict)
            expect(page.locator(".steps .good")).to_have_count(steps)
            expect(page.locator(".steps .bad")).to_have_count(0)
            if button.startswith("Run the slow"):
                steps = page.locator(".steps").first
                assert re.search("logged in.*has begun.*has logged out.*has answered", steps.inner_text(), re.DOTALL)
                expect(steps.locator(".good").first).to_contain_text("finds: ended")
            assert page.context.cookies() == []
