"""`Pace`: how often the store behind a cache is written."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...errors import ConfigurationError
from ...record import Record
from ...traces import is_trace
from .standing import Standing


class Pace(NamedTuple):
    """How many saves, and for how many seconds, the store need not know of a session."""

    saves: int
    seconds: float

    def check(self) -> None:
        """Raise `ConfigurationError` if nothing can go at this pace."""
        if self.saves < 1 or not 0 < self.seconds < math.inf:
            raise ConfigurationError("max_stale_count must be 1 or more, and max_stale_seconds more than 0, "
                                     "but not for ever")

    @property
    def margin(self) -> float:
        """How many seconds later a record expires in the store, which for so long is not told that it is used."""
        return 0.0 if self.saves == 1 else self.seconds

    def is_due(self, record: Record, standing: Standing, now: float) -> bool:
        """Tell whether a save is one that the store must have."""
        if standing.saves + 1 >= self.saves or now >= standing.since + self.seconds or standing.claimed:
            return True
        if is_trace(record) or record.user != standing.user or record.accessed > standing.used + self.margin:
            return True
        if standing.until is None or record.expires is None:
            return standing.until is not record.expires
        outlasted = standing.until <= record.expires <= standing.until + self.margin
        return not outlasted or now + self.margin >= standing.until
