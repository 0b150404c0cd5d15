"""Those who do the work that is measured: threads or processes, each with a session of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from cases import Case

SECONDS, PAUSE = 0.1, 0.01
KINDS: dict[str, Callable[..., threading.Thread | multiprocessing.process.BaseProcess]] = {
    "threads": threading.Thread, "processes": multiprocessing.get_context("fork").Process}


def rate(cycle: Callable[[], object], start: float) -> float:
    """Return cycles per second, measured for about `SECONDS` from a moment of the monotonic clock."""
    time.sleep(max(0.0, start - time.monotonic()))
    count, spent = 0, 0.0
    while spent < SECONDS:  # once at least, also for who is late
        for _ in range(10):
            cycle()
        count += 10
        spent = time.monotonic() - start
    return count / spent


def work(case: Case, number: int, pipe: Connection) -> None:
    """Answer the name of an action and the moment to start at with its rate, until there is none."""
    with pipe, contextlib.suppress(EOFError):  # which another's failure ends in
        actions = case.worker(number)
        pipe.send("ready")
        while order := pipe.recv():
            action, start = order
            pipe.send(rate(getattr(actions, action), start))


class Team:
    """The workers of one case.  They wait at their pipes while other cases have their turn."""

    def __init__(self, case: Case, kind: str, count: int) -> None:
        self.name = case.name
        self._pipes = [self._hire(case, kind, number) for number in range(count)]

    @staticmethod
    def _hire(case: Case, kind: str, number: int) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        KINDS[kind](target=work, args=(case, number, theirs), daemon=True).start()
        if kind == "processes":
            theirs.close()  # so that the end of a worker that failed is noticed
        ours.recv()  # one after another: the first session of some peers creates their tables
        return ours

    def rate(self, action: str) -> float:
        """Start all at once; return how much they did together."""
        start = time.monotonic() + PAUSE  # else the first would hold the interpreter while the others are still told
        for pipe in self._pipes:
            pipe.send((action, start))
        return sum(pipe.recv() for pipe in self._pipes)

    def dismiss(self) -> None:
        """Let the workers end."""
        for pipe in self._pipes:
            pipe.send(None)
            pipe.close()
