"""One run of a scenario: its programs, step by step as a plan says, and then straight on."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ...manager import SessionManager
from .baton import Baton, Op
from .programs import LOOK, Browser, Program, Request, Shop
from .world import NOON, Fault, SteppedStore, World, enter

Sleepers = tuple[tuple[int, tuple[Op, ...]], ...]
"""Programs whose next step was tried at an earlier place already, and what that step was: until something is done that
it matters to, to go on with them would be the same schedule in another guise."""


LEASE: Final = 20.0
"""Of locks: shorter than what is provisional lives."""


class Choice(NamedTuple):
    """Which program goes on, and what goes wrong."""

    program: int
    fault: Fault = ""


class Plan(NamedTuple):
    """How a run begins."""

    choices: tuple[Choice, ...] = ()
    sleepers: Sleepers = ()
    """As they are before the last of the choices is done."""
    preemptions: int = 0
    has_fault: bool = False


@dataclass(frozen=True)
class Scenario:
    """Programs that overlap, and how it was when they began.

    :param user: who is logged in at the beginning.
    :param age: how old the session is, in seconds; None: there is none.
    :param options: of the manager.
    :param others: how many other sessions the user has, from other browsers.
    """

    programs: tuple[Program, ...]
    user: str | None = None
    age: float | None = 0.0
    options: tuple[tuple[str, Any], ...] = ()
    others: int = 0

    def __str__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options)
        session = "no session" if self.age is None else f"a session {self.age:g} s old of {self.user or 'nobody'}"
        return f"{' | '.join(program.name for program in self.programs)} ({session}{options})"


@dataclass
class Point:
    """A moment at which it was asked who is next."""

    can: tuple[int, ...]
    ops: dict[int, Op]
    current: int | None
    sleepers: Sleepers
    chosen: Choice
    did: tuple[Op, ...] = ()
    """What was done until it was asked again."""


class Course:
    """One run.

    :param reduce: leave a schedule out that is another one in another guise.
    """

    def __init__(self, scenario: Scenario, plan: Plan, reduce: bool) -> None:
        self.scenario, self.plan, self.reduce = scenario, plan, reduce
        self.world = enter(World())
        self.browser = Browser()
        self.points: list[Point] = []
        self.is_redundant = False
        self._waits = 0
        self._prepare()
        self.requests = [self._request(program, number + 1) for number, program in enumerate(scenario.programs)]
        self.baton = Baton([request.run for request in self.requests], self._choose)

    def run(self, threads: Executor) -> None:
        """Run all programs to their ends."""
        self.baton.run(threads)

    # -- how it begins ---------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        world, scenario = self.world, self.scenario
        if scenario.age is None:
            return
        manager = self._request(LOOK, 0, alone=True).manager
        for number in range(scenario.others + 1):
            world.now = NOON - scenario.age - number * 10
            session = manager.new_session()
            session.update({"colour": "blue", "n": 5, "locked": 0})
            session.set_user(scenario.user)
            manager.save(session)
            if number == 0:
                self.browser.cookie = session.id
                self.browser.given.append((str(session.id), 0))
                self.browser.claims = [str(session.id)]
        world.now = NOON
        world.story.clear()

    def _request(self, program: Program, number: int, alone: bool = False) -> Request:
        store = SteppedStore(self.world, number, (lambda _number, _op: "") if alone else self._step)
        manager = SessionManager(store, Shop, lock_timeout=1e9, lock_lease=LEASE, **dict(self.scenario.options))
        return Request(program, number, self.world, store, manager, self.browser)

    def alone(self, program: Program) -> Request:
        """Serve another request, by itself, when all are over."""
        request = self._request(program, len(self.requests) + 1, alone=True)
        request.run()
        return request

    # -- who is next -----------------------------------------------------------------------------------------------

    def _step(self, number: int, op: Op) -> Fault:
        self.baton.step(number - 1, op)
        self.requests[number - 1].store.waits_for = None
        return self.points[-1].chosen.fault

    def _choose(self, pending: dict[int, Op]) -> int | None:
        self._note_what_was_done()
        can = tuple(number for number in sorted(pending) if self._can(number)) or self._wait(pending)
        if not can:
            return None
        last = self.points[-1].chosen.program if self.points else None
        current = last if last in can else None
        sleepers = self._sleepers(pending)
        chosen = self._chosen(can, current, sleepers)
        if chosen is None:
            self.is_redundant = True
            return None
        self.world.current = chosen.program + 1
        self.points.append(Point(can, dict(pending), current, sleepers, chosen))
        return chosen.program

    def _chosen(self, can: tuple[int, ...], current: int | None, sleepers: Sleepers) -> Choice | None:
        if len(self.points) < len(self.plan.choices):
            return self.plan.choices[len(self.points)]
        asleep = {number for number, _ in sleepers}
        awake = [number for number in can if number not in asleep]
        if not awake:
            return None
        return Choice(current if current in awake else awake[0])

    def _sleepers(self, pending: dict[int, Op]) -> Sleepers:
        """Return who sleeps now."""
        if not self.reduce or len(self.points) < len(self.plan.choices):
            return ()
        if not self.points:
            return ()
        point = self.points[-1]
        before = self.plan.sleepers if len(self.points) == len(self.plan.choices) else point.sleepers
        return tuple((number, ops) for number, ops in before
                     if number in pending and not any(op.meets(other) for op in ops for other in point.did))

    def _note_what_was_done(self) -> None:
        if self.points:
            point = self.points[-1]
            point.did = (point.ops[point.chosen.program], *self.world.beside)
        self.world.beside.clear()

    def _can(self, number: int) -> bool:
        waits = self.requests[number].store.waits_for
        return waits is None or self.world.stamp(waits[0]) != waits[1]

    def _wait(self, pending: dict[int, Op]) -> tuple[int, ...]:
        """Let time pass if all wait for locks: a lease lapses."""
        self._waits += 1
        if self._waits > 3:
            self.world.complaints.append("a lock that nobody holds is free: all wait for ever")
            return ()
        self.world.now += LEASE + 1
        self.world.tell(None, "all wait for a lock, and its lease ends")
        return tuple(pending)
