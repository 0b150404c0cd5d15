"""A baton: of several programs in threads only the one that holds it runs; before each step it is passed on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple


class Op(NamedTuple):
    """What a program is about to do to what it shares with others."""

    name: str
    key: str = "*"
    """What it is done to; ``*``: to everything."""
    writes: bool = False

    def meets(self, other: Op) -> bool:
        """Tell whether it matters which of two is done first."""
        return (self.writes or other.writes) and (self.key == other.key or "*" in (self.key, other.key))


BEGIN: Final = Op("begin", "browser")
"""The first step of every program: a request takes the cookie that its browser has at this moment."""


class Stopped(BaseException):
    """The run is given up; raised in each program that is still under way."""


class Baton:
    """Runs programs in threads, one step at a time.

    :param bodies: the programs; each ends by itself, whatever is raised in it.
    :param choose: is given what each living program is about to do, and returns the number of the next, or None to
        give the run up.
    """

    def __init__(self, bodies: Sequence[Callable[[], None]], choose: Callable[[dict[int, Op]], int | None]) -> None:
        self._bodies = bodies
        self._choose = choose
        self._turns = [_closed() for _ in bodies]
        self._over = _closed()
        self._stopped = False
        self.pending = dict.fromkeys(range(len(bodies)), BEGIN)

    def run(self, threads: Executor) -> None:
        """Run all to their ends; `threads` must have one for each."""
        running = [threads.submit(self._live, number) for number in range(len(self._bodies))]
        self._pass_on()
        self._over.acquire()
        for each in running:
            each.result()

    def step(self, number: int, op: Op) -> None:
        """Wait until it is this program's turn to do what it is about to do."""
        self.pending[number] = op
        self._pass_on(number)
        if self._stopped:
            raise Stopped

    def _live(self, number: int) -> None:
        self._turns[number].acquire()
        try:
            if not self._stopped:
                self._bodies[number]()
        finally:
            del self.pending[number]
            self._pass_on()

    def _pass_on(self, me: int | None = None) -> None:
        if not self.pending:
            self._over.release()
            return
        chosen = None if self._stopped else self._choose(self.pending)
        if chosen is None:
            self._stopped = True
            chosen = next(iter(self.pending)) if me is None else me
        if chosen != me:
            self._turns[chosen].release()
            if me is not None:
                self._turns[me].acquire()


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock
