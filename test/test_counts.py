"""How many functions of the library one request calls, with each store that needs no server.

Time cannot be tested, for it is another on each machine.  These numbers are the same everywhere but for the version of
Python; what makes a request slower in general makes them grow.  Who has a good reason raises a bound.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from session2 import DictSession, SessionManager, from_url
from session2.store.base import SessionStore
from session2.testing.fakes import Clock, FakeExchange

Site = tuple[SessionManager[DictSession], dict[str, str]]

URLS = {"volatile": "volatile:", "directory": "directory:{}/sessions?create=true",
        "sqlite": "sqlite:{}/sessions?create=true", "shelve": "shelve:{}/sessions?create=true"}

BOUNDS = {
    ("volatile", "look"): 58,
    ("volatile", "change"): 112,
    ("directory", "look"): 70,
    ("directory", "change"): 140,
    ("sqlite", "look"): 62,
    ("sqlite", "change"): 118,
    ("shelve", "look"): 77,
    ("shelve", "change"): 155,
}


def look(session: Any) -> None:
    assert session["count"] >= 0


def change(session: Any) -> None:
    session["count"] += 1


@pytest.fixture(params=list(URLS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SessionStore]:
    store = from_url(URLS[request.param].format(tmp_path), clock=Clock())
    yield store
    store.close()


@pytest.fixture
def site(store: SessionStore) -> Site:
    """Make a manager and a browser that was here before."""
    manager, cookies = SessionManager(store, DictSession), dict[str, str]()
    visit((manager, cookies), lambda session: session.update(count=0))
    return manager, cookies


def visit(site: Site, page: Callable[[Any], object]) -> None:
    manager, cookies = site
    exchange = FakeExchange(cookies)
    manager.start_request(exchange)
    page(exchange.session)
    manager.finish_successful_request(exchange)


def calls(act: Callable[[], object]) -> int:
    """Return how many functions of the library are called meanwhile."""
    count = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_globals.get("__name__", "").startswith("session2")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("page", [look, change], ids=lambda page: page.__name__)
def test_calls_of_a_request(site: Site, request: pytest.FixtureRequest, page: Callable[[Any], object]) -> None:
    visit(site, page)  # what is done once is not counted
    fewest = min(calls(lambda: visit(site, page)) for _ in range(3))
    bound = BOUNDS[request.node.callspec.params["store"], page.__name__]
    assert bound / 2 < fewest <= bound, f"{fewest} calls; the bound is {bound}"
