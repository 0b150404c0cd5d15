"""Waiting with growing pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator


def attempts(seconds: float) -> Iterator[None]:
    """Yield at once, then after ever longer pauses with jitter, until the patience is used up."""
    end = time.monotonic() + seconds
    pause = 0.001
    while time.monotonic() < end:
        yield
        time.sleep(random.uniform(0, pause))
        pause = min(pause * 2, 0.05)
