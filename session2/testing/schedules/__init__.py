"""Every schedule of overlapping requests, with what can go wrong at each step, checked against the rules of the design.

All that sessions do comes down to a handful of primitives, each of them atomic.  So here are small programs (a request
that sets an item, one that logs in, ...) over a store that asks before each primitive who is next: all interleavings
are run, and each end is held against the rules of `rules`.  ``python -m session2.testing.schedules`` runs them.
"""

from .course import Scenario
from .explorer import Depth, Exploration, Failure
from .programs import Program

__all__ = ["Depth", "Exploration", "Failure", "Program", "Scenario"]
