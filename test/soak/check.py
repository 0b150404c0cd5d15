"""Reads what the workers noted and what the store holds, and finds what does not fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from worker import manage

Line = dict[str, Any]


class Report(NamedTuple):
    """What became of one store."""

    store: str
    saves: int
    ends: int
    outages: int
    killed: int
    restarts: int
    lost: list[str]
    came_back: list[str]

    @property
    def failures(self) -> list[str]:
        """All that must not be."""
        return [f"{self.store}: {failure}" for failure in [*self.came_back, *self.lost]]

    @staticmethod
    def heading() -> str:
        return f"{'store':12} {'saves':>9} {'ended':>7} {'outages':>8} {'kill -9':>8} {'restarts':>9} {'failures':>9}"

    def line(self) -> str:
        return (f"{self.store:12} {self.saves:9} {self.ends:7} {self.outages:8} {self.killed:8} {self.restarts:9} "
                f"{len(self.failures):9}")


def check(store: str, url: str, folder: Path, killed: int, restarts: int) -> Report:
    """Compare the journals with each other and with the store."""
    journals = [list(lines_of(path)) for path in sorted(folder.glob("journal-*"))]
    lines = [line for journal in journals for line in journal]
    kinds = Counter(line["what"] for line in lines)
    return Report(store, kinds["counted"], kinds["ended"], kinds["outage"], killed, restarts,
                  [*_lost_between(journals), *_lost_at_the_end(lines, url)], list(_came_back(lines)))


def lines_of(path: Path) -> Iterator[Line]:
    """Iterate over the lines of a journal; the last one may have been cut off by a kill -9."""
    for text in path.read_text().splitlines(keepends=True):
        if text.endswith("\n"):
            yield json.loads(text)


def _came_back(lines: list[Line]) -> Iterator[str]:
    """No load that began after an end was acknowledged may find the session, nor a save succeed."""
    ended: dict[str, float] = {}
    for line in lines:
        if line["what"] == "ended":
            ended[line["id"]] = min(line["at"], ended.get(line["id"], line["at"]))
    for line in lines:
        if line["what"] == "seen" and line["id"] in ended and line["began"] > ended[line["id"]]:
            yield f"session {line['id'][:8]} was seen after its end"


def _lost_between(journals: list[list[Line]]) -> Iterator[str]:
    """Whoever counted in a session must find its own last acknowledged number there, or a later one it tried."""
    for journal in journals:
        last: dict[str, int] = {}
        for line in journal:
            if line["what"] == "counted" and "value" in line:
                last[line["id"]] = line["value"]
            if line["what"] == "read" and line["value"] < last.get(line["id"], 0):
                yield f"session {line['id'][:8]}: {line['value']} was read after {last[line['id']]} had been stored"


def _lost_at_the_end(lines: list[Line], url: str) -> Iterator[str]:
    manager = manage(url)
    try:
        counted = Counter(line["id"] for line in lines if line["what"] == "counted")
        tried = Counter(line["id"] for line in lines if line["what"] == "try")
        ending = {line["id"] for line in lines if line["what"] == "ending"}
        numbers: dict[tuple[str, int], int] = {}
        for line in lines:
            if line["what"] == "counted" and "value" in line:
                numbers[line["id"], line["worker"]] = max(line["value"], numbers.get((line["id"], line["worker"]), 0))
        for id in tried.keys() - ending:
            session = manager.load(id)
            if session is None:
                yield f"session {id[:8]} is gone although nobody ended it"
                continue
            if not counted[id] <= session["total"] <= tried[id]:
                yield f"session {id[:8]} counts {session['total']}; stored {counted[id]}, tried {tried[id]}"
            for (owner, number), value in numbers.items():
                if owner == id and session.get(f"worker {number}", 0) < value:
                    yield f"session {id[:8]} lost number {value} of worker {number}"
    finally:
        manager.store.close()
