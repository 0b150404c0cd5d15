"""All schedules of a scenario, those with the fewest faults and preemptions first."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from .baton import Op
from .course import Choice, Course, Plan, Point, Scenario
from .rules import complaints
from .story import told
from .world import Fault, no_waiting

_OF_A_READ: Final[tuple[Fault, ...]] = ("error", "interrupt")
_OF_A_CHANGE: Final[tuple[Fault, ...]] = ("crash", "error", "lost answer", "interrupt", "interrupt after")


@dataclass(frozen=True)
class Depth:
    """How far to go.

    :param preemptions: how often a program that could go on is made to wait, at most; None: as often as it makes a
        difference.  Two schedules that differ only in the order of steps that do not concern each other are one.
    :param faults: whether something goes wrong, in turn at each step, or never.
    """

    preemptions: int | None = None
    faults: bool = False


@dataclass(frozen=True)
class Failure:
    """A schedule that breaks rules."""

    scenario: Scenario
    plan: Plan
    complaints: tuple[str, ...]
    story: str

    def __str__(self) -> str:
        return self.story


class Exploration:
    """Runs schedules and counts them."""

    def __init__(self, stop_at: int = 1) -> None:
        self.schedules = 0
        self.failures: list[Failure] = []
        self._stop_at = stop_at

    def explore(self, scenario: Scenario, depth: Depth) -> bool:
        """Run all schedules of a scenario; tell whether all was well."""
        found = 0
        with ThreadPoolExecutor(len(scenario.programs)) as threads, no_waiting():
            for course in _courses(scenario, depth, threads):
                self.schedules += 1
                wrong = complaints(course)
                if wrong:
                    found += 1
                    self.failures.append(Failure(scenario, course.plan, wrong, told(course, wrong)))
                    if found >= self._stop_at:
                        return False
        return not found


def _courses(scenario: Scenario, depth: Depth, threads: Executor) -> Iterator[Course]:
    """Yield each schedule once, run to its end."""
    order = itertools.count()
    queue = [(0, 0, next(order), Plan())]
    while queue:
        plan = heapq.heappop(queue)[-1]
        course = Course(scenario, plan, depth.preemptions is None)
        course.run(threads)
        for child in _children(course, depth):
            heapq.heappush(queue, (child.has_fault + child.preemptions, len(child.choices), next(order), child))
        if not course.is_redundant:
            yield course


def _children(course: Course, depth: Depth) -> Iterator[Plan]:
    """Yield the plans that leave the way of this run after its own plan ends."""
    choices = tuple(point.chosen for point in course.points)
    preemptions = course.plan.preemptions
    for place in range(len(course.plan.choices), len(choices)):
        point = course.points[place]
        for choice, sleepers in _others(point, depth.faults and not course.plan.has_fault):
            more = point.current is not None and choice.program != point.current
            if depth.preemptions is None or preemptions + more <= depth.preemptions:
                yield Plan((*choices[:place], choice), sleepers, preemptions + more,
                           course.plan.has_fault or bool(choice.fault))
        preemptions += point.current is not None and point.chosen.program != point.current


def _others(point: Point, faults: bool) -> Iterator[tuple[Choice, tuple[tuple[int, tuple[Op, ...]], ...]]]:
    asleep = {number for number, _ in point.sleepers}
    chosen = point.chosen.program
    sleepers = (*point.sleepers, (chosen, point.did))
    for number in point.can:
        if number != chosen and number not in asleep:
            yield Choice(number), sleepers
        for fault in _faults(point.ops[number]) if faults else ():
            yield Choice(number, fault), tuple(each for each in sleepers if each[0] != number)


def _faults(op: Op) -> Sequence[Fault]:
    if op.name == "begin":
        return ()
    return _OF_A_CHANGE if op.writes else _OF_A_READ
