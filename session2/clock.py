"""The time of the stores: the wall clock without its jumps."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

RATE = 0.1
"""Seconds of a small step of the wall clock that are made up for in each second."""

TOLERANCE = 0.01
"""Seconds of difference that are no step."""

SMALL = 60.0
"""Seconds of the largest step that is absorbed little by little."""

PATIENCE = 60.0
"""Seconds for which the wall clock must stand by a larger step before it is believed."""

GLANCE = 0.01
"""Seconds for which the wall clock is not looked at again: a request asks for the time several times."""


_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", None)

# Seconds since about the machine's start, that nobody can set; where the system tells, with those it was suspended.
elapsed: Final[Callable[[], float]] = time.monotonic if _BOOT is None else partial(time.clock_gettime, _BOOT)


class SteadyClock:
    """Seconds since the epoch as the wall clock has them, except that no passing whim of it counts.

    A step of a minute or less is absorbed: time goes a tenth faster or slower until it agrees with the wall clock
    again, ten minutes later at most, and always forward.  A larger step, as when the clock of a machine that has just
    been started is put right, is ignored for a minute and then believed as a whole, so that no two processes disagree
    for longer than that.  A process that is started after the step goes by the new time at once.
    """

    def __init__(self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed) -> None:
        self._wall = wall
        self._elapsed = elapsed
        start = elapsed()
        # Replaced as a whole, so that threads overwrite each other's correction and never add to it: when it was last
        # looked at, what to add to the seconds elapsed, and since when there is a step that is not yet believed.
        self._state: tuple[float, float, float | None] = start, wall() - start, None

    def __call__(self) -> float:
        """Return the time."""
        last, offset, doubted = self._state
        elapsed = self._elapsed()
        if elapsed - last < GLANCE:
            return elapsed + offset - RATE * (elapsed - last)  # the next look may take away so much
        error = self._wall() - elapsed - offset
        if -TOLERANCE < error < TOLERANCE and doubted is None:  # as nearly always
            self._state = elapsed, offset, None
            return elapsed + offset
        if abs(error) > SMALL:
            doubted = elapsed if doubted is None else doubted
            if elapsed - doubted >= PATIENCE:
                offset, doubted = offset + error, None
        else:
            doubted = None
            if abs(error) >= TOLERANCE:
                limit = max(elapsed - last, 0.0) * RATE
                offset += max(-limit, min(limit, error))
        self._state = elapsed, offset, doubted
        return elapsed + offset
