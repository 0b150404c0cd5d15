"""`Clocks`: when a session is over, when its use is noted, when its id is renewed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final

from .errors import ConfigurationError

Seconds = float | timedelta

DAY: Final = 86400.0


@dataclass(frozen=True)
class Clocks:
    """The clocks of a manager: the only place that says when a session is over.

    Durations are in seconds, times in seconds since the epoch.  To change a clock of a manager, say
    ``dataclasses.replace(manager.clocks, idle=1800)``.

    :param idle: how long an unused session lives; None: for ever.
    :param lifetime: how long any session lives; None: for ever.
    :param touch: reading a session moves its idle clock at most this often; None: a tenth of `idle`, 300 seconds at
        most.
    :param renewal: a session gets a new id this often; None: only when its user changes.
    :param grace: how long a renewed id still serves requests that are under way.
    :raises ConfigurationError: for a clock that cannot work, in the words of the arguments of `SessionManager`.
    """

    idle: float | None = 14 * DAY
    lifetime: float | None = 90 * DAY
    touch: float | None = None
    renewal: float | None = None
    grace: float = 60.0

    def __post_init__(self) -> None:
        for name, value in (("idle_timeout", self.idle), ("lifetime", self.lifetime), ("renew_after", self.renewal)):
            if value is not None:
                seconds(name, value)
        seconds("renew_grace", self.grace)
        seconds("touch_interval", self.touch_interval, zero=True)
        if self.idle is not None and self.touch_interval >= self.idle:
            raise ConfigurationError("touch_interval must be shorter than idle_timeout, or sessions in use would end")

    @cached_property
    def touch_interval(self) -> float:
        """Seconds that pass at least between two touches."""
        return min(300.0, (self.idle or 3000.0) / 10) if self.touch is None else self.touch

    def end_of(self, created: float, accessed: float) -> float | None:
        """Return when a session ends that nobody uses any more; None: never."""
        if self.idle is None:
            return None if self.lifetime is None else created + self.lifetime
        idle = accessed + self.idle
        return idle if self.lifetime is None else min(idle, created + self.lifetime)

    def is_over(self, created: float, accessed: float, now: float) -> bool:
        """Tell whether a session has come to its end."""
        end = self.end_of(created, accessed)
        return end is not None and end <= now

    def touch_is_due(self, accessed: float, now: float) -> bool:
        """Tell whether it is time to note that a session was used."""
        return now - accessed >= self.touch_interval

    def is_next(self, accessed: float, now: float) -> bool:
        """Tell whether a touch interval has begun since a session was used: a browser is told once in each."""
        if self.touch_interval == 0:
            return accessed != now
        return accessed // self.touch_interval != now // self.touch_interval

    def renewal_is_due(self, issued: float, now: float) -> bool:
        """Tell whether an id is old enough to be renewed."""
        return self.renewal is not None and now - issued >= self.renewal


def seconds(name: str, value: Seconds, zero: bool = False) -> float:
    """Return a duration in seconds; `ConfigurationError`, naming the argument, if it is none."""
    found = value.total_seconds() if isinstance(value, timedelta) else value
    if not isinstance(found, (int, float)) or not (0 < found < math.inf or (zero and found == 0)):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")
    return float(found)
