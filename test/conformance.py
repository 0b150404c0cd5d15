"""A pytest plugin that counts the cases of `StoreSuite` each store has passed, for the documentation."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from session2.testing import StoreSuite

RESULTS = Path(__file__).parents[1] / "build" / "conformance.json"

CASE = re.compile(r"test/store/\w+\.py::(\w+)::(\w+)")


def part_of(test: str) -> str | None:
    """Return the part of the suite a test belongs to."""
    return next((part.__name__.removesuffix("Tests") for part in StoreSuite.__bases__ if hasattr(part, test)), None)


def count(nodes: list[str]) -> dict[str, dict[str, int]]:
    """Return the number of cases by test class and part of the suite."""
    found: dict[str, Counter[str]] = {}
    for node in nodes:
        case = CASE.match(node)
        part = part_of(case[2]) if case else None
        if case and part:
            found.setdefault(case[1].removeprefix("Test"), Counter())[part] += 1
    return {store: dict(counts) for store, counts in found.items()}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write what this run has shown; a run of a few tests leaves the other stores' results alone."""
    passed = count([report.nodeid for report in terminalreporter.stats.get("passed", ())])
    if not passed:
        return
    known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**known, **passed}, indent=1, sort_keys=True))
