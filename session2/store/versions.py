"""Versions of records: numbers that never come back."""

from __future__ import annotations

from random import Random

from ..forks import PerProcess

_numbers = PerProcess(Random)
"""Begun by each process with what the system has of chance; they need not be unguessable, only different."""


def new_version() -> int:
    """Return a number of 62 random bits."""
    return _numbers().getrandbits(62)
