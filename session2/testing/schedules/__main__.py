"""``python -m session2.testing.schedules``: run schedules, count them, and tell of those that are wrong."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing import Pool
from typing import Final, NamedTuple

from .course import Scenario
from .explorer import Depth, Exploration
from .scenarios import pairs, singles, triples


class Part(NamedTuple):
    """Scenarios, and how deeply they are explored."""

    name: str
    scenarios: Callable[[], Iterable[Scenario]]
    depth: Depth


PARTS: Final = (
    Part("one program, each fault at each step", singles, Depth(None, faults=True)),
    Part("two programs, all interleavings", pairs, Depth()),
    Part("two programs, one after the other, each fault at each step", pairs, Depth(0, faults=True)),
    Part("two programs, one preemption, each fault at each step", pairs, Depth(1, faults=True)),
    Part("three programs, two preemptions", triples, Depth(2)),
    Part("three programs, one after another, each fault at each step", triples, Depth(0, faults=True)),
)


def explore(job: tuple[Scenario, Depth]) -> tuple[int, list[str]]:
    """Run the schedules of one scenario; return how many there were and the stories of the first that is wrong."""
    logging.disable(logging.CRITICAL)
    exploration = Exploration()
    exploration.explore(*job)
    return exploration.schedules, [str(failure) for failure in exploration.failures]


def main(arguments: list[str] | None = None) -> int:
    """Run all parts; return 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m session2.testing.schedules", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="how many processes share the work")
    parser.add_argument("--stories", type=int, default=5, help="how many failing schedules are told")
    given = parser.parse_args(arguments)
    with Pool(given.jobs) as pool:
        totals = [_report(part, pool.imap(explore, [(each, part.depth) for each in part.scenarios()], 8), given.stories)
                  for part in PARTS]
    schedules, wrong = (sum(column) for column in zip(*totals, strict=True))
    print(f"{schedules:>9} schedules, {wrong} scenarios in which a rule was broken")
    return int(wrong > 0)


def _report(part: Part, results: Iterable[tuple[int, list[str]]], stories: int) -> tuple[int, int]:
    began, schedules, wrong = time.monotonic(), 0, []
    for count, told in results:
        schedules += count
        wrong += told
    print(f"{schedules:>9} {part.name} ({time.monotonic() - began:.0f} s)", flush=True)
    for story in sorted(wrong, key=len)[:stories]:
        print(f"\n{story}\n", flush=True)
    return schedules, len(wrong)


if __name__ == "__main__":
    sys.exit(main())
