"""Waiting for others: ever longer pauses, with jitter so that those who wait do not meet again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator


def attempts(patience: float, shortest: float = 0.001, longest: float = 0.05, *,
             clock: Callable[[], float] | None = None,
             sleep: Callable[[float], object] | None = None) -> Iterator[None]:
    """Yield at once, then after each pause, and a last time when the patience is used up.

    :param patience: for how many seconds to go on.
    :param shortest: the first pause at most, in seconds.
    :param longest: the later ones at most.
    :param sleep: how to pause; something that returns sooner, such as ``event.wait``, is fine.
    """
    clock, sleep = clock or time.monotonic, sleep or time.sleep
    end = clock() + patience
    yield
    for pause in pauses(shortest, longest):
        left = end - clock()
        if left <= 0:
            return
        sleep(min(pause, left))
        yield


def pauses(shortest: float, longest: float) -> Iterator[float]:
    """Yield how long to pause, for ever: anything up to a limit that doubles from `shortest` to `longest` seconds."""
    limit = shortest
    while True:
        yield random.uniform(0, limit)
        limit = min(2 * limit, longest)
