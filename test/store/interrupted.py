"""Exceptions from outside, as signals and time limits raise them: wherever the interpreter looks for them."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from types import CodeType
from typing import Any


class Interrupted(BaseException):
    """What nobody expects."""


def interrupted_everywhere(act: Callable[[], object]) -> Iterator[int]:
    """Do something again and again; each time it is interrupted one step later, until it comes to its end.

    The interpreter looks for signals when a function begins, when a call ends and when a loop jumps back, so that is
    where it happens here.
    """
    for number in count():
        if not _interrupted(act, number):
            return
        yield number


def _interrupted(act: Callable[[], object], number: int) -> bool:
    """Tell whether it was; nobody may have seen that, if it was in the midst of collecting garbage."""
    left = number

    def step(event: str, place: object) -> None:
        nonlocal left
        left -= 1
        if left == -1:
            sys.setprofile(None)
            raise Interrupted(f"{event} in {place}")

    def at_call(frame: Any, event: str, _: Any) -> None:
        if event != "c_call":
            step(event, frame)

    with _at_jumps_back(step):
        sys.setprofile(at_call)
        try:
            act()
        except Interrupted:
            return True
        finally:
            sys.setprofile(None)
    return left < 0


@contextmanager
def _at_jumps_back(step: Callable[[str, object], None]) -> Iterator[None]:
    """Before Python 3.12 an exception that arrives there is as one that arrives when the call before it ends."""
    if sys.version_info < (3, 12):
        yield
        return
    watch, me = sys.monitoring, threading.get_ident()

    def at_jump(code: CodeType, here: int, there: int) -> None:
        if there < here and threading.get_ident() == me:
            step("jump", code)

    watch.use_tool_id(watch.PROFILER_ID, __name__)
    watch.register_callback(watch.PROFILER_ID, watch.events.JUMP, at_jump)
    watch.set_events(watch.PROFILER_ID, watch.events.JUMP)
    try:
        yield
    finally:
        watch.set_events(watch.PROFILER_ID, 0)
        watch.free_tool_id(watch.PROFILER_ID)


def interrupted_twice(run: Callable[[Callable[[], object]], object]) -> None:
    """Call `run` with an action in which two signals arrive at once.

    The first exception is raised when the action ends, and the second as soon as the interpreter looks again: in Python
    3.10 that is before a handler of the first one begins.
    """
    def interrupt(*_: object) -> None:
        raise Interrupted

    numbers = signal.SIGUSR1, signal.SIGUSR2
    before = [signal.signal(number, interrupt) for number in numbers]
    with suppress(Interrupted), suppress(Interrupted):
        run(lambda: list(map(_thread.interrupt_main, numbers)))
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
