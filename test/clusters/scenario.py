"""A cluster under load while it fails: what was lost, what came back, and how long nobody was served."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from check import check, lines_of
from crew import Crew, Subject

Step = Callable[[], None]
"""Something that is done to the cluster."""


class Cluster(NamedTuple):
    """A cluster that runs."""

    url: str
    """Of the store."""
    steps: list[Step]
    """What happens to it, one after the other, while it is in use."""


class Scenario(NamedTuple):
    """A cluster and what is done to it."""

    name: str
    make: Callable[[Path], AbstractContextManager[Cluster]]
    """Starts the cluster, with a folder of its own."""
    promise: str = ""
    """What the engine may lose, by its own word; nothing if this is empty."""


class Outcome(NamedTuple):
    """What became of it."""

    scenario: Scenario
    saves: int
    ends: int
    errors: int
    longest_gap: float
    lost: list[str]
    came_back: list[str]

    @property
    def is_as_promised(self) -> bool:
        """Whether nothing is missing but what the engine says may be."""
        return bool(self.scenario.promise) or not (self.lost or self.came_back)


def run(scenario: Scenario, folder: Path, seconds: float) -> Outcome:
    """Let workers use the cluster while its steps are taken, in so many seconds, and check what they saw."""
    folder.mkdir()
    with scenario.make(folder) as cluster:
        crew = Crew(Subject(scenario.name, cluster.url, None), folder / "journals")
        pause = seconds / (len(cluster.steps) + 1)
        for step in cluster.steps:
            _wait(crew, pause)
            step()
        _wait(crew, pause)
        crew.dismiss()
        report = check(scenario.name, cluster.url, crew.folder, crew.killed, 0)
        return Outcome(scenario, report.saves, report.ends, report.outages, _longest_gap(crew.folder), report.lost,
                       report.came_back)


def _wait(crew: Crew, seconds: float) -> None:
    """Let the crew work; now and then one of it is killed."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(random.uniform(1, 3), left))
        crew.kill_one()


def _longest_gap(folder: Path) -> float:
    """Return the longest time, in seconds, in which no worker was served."""
    times = sorted(_served(folder))
    return max((later - earlier for earlier, later in pairwise(times)), default=0.0)


def _served(folder: Path) -> Iterator[float]:
    for path in folder.glob("journal-*"):
        for line in lines_of(path):
            if line["what"] in ("seen", "counted"):
                yield line["at"]
