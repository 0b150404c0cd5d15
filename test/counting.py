"""What whole requests cost: functions of the library that are called, and system calls.

``python test/counting.py`` prints the tables of docs/performance.md; test_counts.py compares them with what is so.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from session2 import DictSession, SessionManager, from_url
from session2.testing.fakes import FakeExchange

URLS: Final = {"volatile": "volatile:", "directory": "directory:{}/sessions?create=true",
               "sqlite": "sqlite:{}/sessions?create=true", "shelve": "shelve:{}/sessions?create=true"}

KINDS: Final = ("look", "change", "begin", "end")
MODES: Final = ("merge", "lock")

_TURNS: Final = 10

PAUSE: Final = 0.002
"""Seconds; no visitor is back at once, and who takes a lock again at once makes a call more."""

_MARKER: Final = "getppid"
"""A system call that nothing else makes."""


class Site:
    """A manager, and a browser that was here before."""

    def __init__(self, url: str, mode: Any) -> None:
        self.store = from_url(url)
        self.store.setup()
        self.manager: SessionManager[DictSession] = SessionManager(self.store, DictSession, concurrency=mode)
        self.cookies: dict[str, str] = {}

    def visit(self, page: Callable[[Any], object]) -> None:
        exchange = FakeExchange(self.cookies)
        self.manager.start_request(exchange)
        page(exchange.session)
        self.manager.finish_successful_request(exchange)

    def look(self) -> None:
        self.visit(lambda session: session["count"])

    def change(self) -> None:
        self.visit(lambda session: session.update(count=session["count"] + 1))

    def begin(self) -> None:
        self.cookies.clear()
        self.visit(lambda session: session.update(count=0))

    def end(self) -> None:
        self.visit(lambda session: self.manager.expire_session(session.exchange))

    def prepare(self, kind: str) -> None:
        """See to it that there is a session to end, and one to look at."""
        if kind == "end" or not self.cookies:
            self.begin()


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


def calls_of_request(url: str, kind: str, mode: str) -> int:
    """Return how many functions of the library a request calls, once what is done once is done."""
    site, found = Site(url, mode), []
    for _ in range(5):
        site.prepare(kind)
        time.sleep(PAUSE)
        found.append(calls(getattr(site, kind)))
    site.store.close()
    return min(found)


def system_calls_of_request(url: str, kind: str, mode: str) -> Counter[str]:
    """Return which system calls a request makes, on the average."""
    with tempfile.NamedTemporaryFile() as log:
        program = ["strace", "-o", log.name, sys.executable, __file__, url, kind, mode]
        subprocess.run(program, check=True, capture_output=True)
        turns = log.read().decode().split(f"{_MARKER}()")[1::2]
    found = Counter(name for turn in turns for name in re.findall(r"^(\w+)\(", turn, re.MULTILINE))
    return Counter({name: round(count / len(turns)) for name, count in found.items()})


def _make_requests(url: str, kind: str, mode: str) -> None:
    import os

    site = Site(url, mode)
    for _ in range(5):
        site.prepare(kind)
        getattr(site, kind)()
    for _ in range(_TURNS):
        site.prepare(kind)
        time.sleep(PAUSE)
        os.getppid()
        getattr(site, kind)()
        os.getppid()


def tables() -> dict[str, dict[str, list[int]]]:
    """Return the tables: for each store the numbers of each kind of request, merging and locked."""
    found: dict[str, dict[str, list[int]]] = {"functions called": {}, "system calls": {}}
    for store, url in URLS.items():
        cells = [(kind, mode) for kind in KINDS for mode in MODES]
        with tempfile.TemporaryDirectory() as folder:
            here = url.format(folder)
            found["functions called"][store] = [calls_of_request(here, *cell) for cell in cells]
            found["system calls"][store] = [system_calls_of_request(here, *cell).total() for cell in cells]
    return found


def main() -> None:
    """Print the tables as Markdown."""
    import counting_adapters as adapters

    for name, rows in tables().items():
        print(f"| {name} | " + " | ".join(f"{kind}, {mode}" for kind in KINDS for mode in MODES) + " |")
        print("|---" * (1 + len(KINDS) * len(MODES)) + "|")
        for store, numbers in rows.items():
            print(f"| {store} | " + " | ".join(map(str, numbers)) + " |")
        print()
    print("| through an adapter | look, merge | look, lock | change, merge | change, lock |")
    print("|---|---|---|---|---|")
    out = sys.stdout  # Quixote puts another in its place
    for adapter in adapters.ADAPTERS:
        print(f"| {adapter} | " + " | ".join(
            str(adapters.calls_through(adapter, kind, mode)) for kind in KINDS[:2] for mode in MODES) + " |", file=out)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _make_requests(*sys.argv[1:])
    else:
        main()
