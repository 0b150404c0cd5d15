"""Exceptions from outside, as signals and time limits raise them: wherever a call begins or ends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any


class Interrupted(BaseException):
    """What nobody expects."""


def interrupted_everywhere(act: Callable[[], object]) -> Iterator[int]:
    """Do something again and again; each time it is interrupted one step later, until it comes to its end.

    The interpreter looks for signals when a function begins and when a call ends, so that is where it happens here.
    """
    for number in count():
        if not _interrupted(act, number):
            return
        yield number


def _interrupted(act: Callable[[], object], number: int) -> bool:
    """Tell whether it was; nobody may have seen that, if it was in the midst of collecting garbage."""
    left = number

    def step(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        if event != "c_call":
            left -= 1
        if left < 0:
            sys.setprofile(None)
            raise Interrupted(f"{event} in {frame}")

    sys.setprofile(step)
    try:
        act()
    except Interrupted:
        return True
    finally:
        sys.setprofile(None)
    return left < 0
