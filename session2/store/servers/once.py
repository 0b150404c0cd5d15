"""Changes that are applied once, also if the answer to them is lost on the way and others wrote meanwhile.

Each record remembers its last versions.  Who does not know whether a change came through finds its version among them,
even if others saved on top of it; or finds the version that was to be replaced, with another one after it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import StoreUnavailable

REMEMBERED = 16
"""How many versions a record remembers."""
BYTES = 8
"""What each of them takes in the column ``recent``, the newest first."""


def written(version: int) -> bytes:
    """Return a version as the records remember it."""
    return version.to_bytes(BYTES, "big")


class AnswerLost(StoreUnavailable):
    """The connection broke after a change was sent: it may or may not have been carried out."""


class ServerSilent(StoreUnavailable):
    """The server is there and did not answer in time: a change may or may not have been carried out.

    To look what became of it would take as long again, so nobody does.
    """


class Fate(enum.Enum):
    """What became of a change."""

    DONE = enum.auto()
    NOT_YET = enum.auto()
    REFUSED = enum.auto()
    UNKNOWN = enum.auto()


class Standing(NamedTuple):
    """What stands in a record now."""

    versions: tuple[int, ...]
    """The newest first."""
    is_whole: bool
    """Whether these are all versions the record has had since it was inserted."""
    is_live: bool


def standing(record: Sequence[Any], now: float) -> Standing:
    """Return what a record tells of itself: its version, those it remembers and when it expires."""
    version, recent, expires = int(record[0]), bytes(record[1]), record[2]
    known = [int.from_bytes(recent[start:start + BYTES], "big") for start in range(0, len(recent), BYTES)]
    return Standing((version, *(other for other in known if other != version)), len(known) < REMEMBERED,
                    expires is None or float(expires) > now)


def fate_of_insert(record: Standing | None, version: int, is_repeatable: bool) -> Fate:
    """Tell what became of an insert whose answer is not known.

    :param is_repeatable: whether to insert again what may have been there and been removed by others meanwhile.
    """
    if record is None:
        return Fate.NOT_YET if is_repeatable else Fate.UNKNOWN
    if version in record.versions:
        return Fate.DONE
    if not record.is_whole:
        return Fate.UNKNOWN
    return Fate.REFUSED if record.is_live else Fate.NOT_YET


def fate_of_replacement(record: Standing | None, version: int, expected: int) -> Fate:
    """Tell what became of a replacement whose answer is not known."""
    if record is None:
        return Fate.REFUSED
    if version in record.versions:
        return Fate.DONE
    if record.versions[0] == expected:
        return Fate.NOT_YET if record.is_live else Fate.REFUSED
    return Fate.REFUSED if record.is_whole or expected in record.versions else Fate.UNKNOWN


def fate_of_removal(record: Standing | None, expected: int) -> Fate:
    """Tell what became of a removal whose answer is not known."""
    if record is None or not record.is_live:
        return Fate.DONE
    if record.versions[0] == expected:
        return Fate.NOT_YET
    if expected in record.versions:
        return Fate.REFUSED
    return Fate.DONE if record.is_whole else Fate.UNKNOWN  # done, and others inserted another record since


def applied(change: Callable[[], bool], fate: Callable[[], Fate]) -> bool:
    """Apply a change, and once only; tell whether it is done or refused, for it expects another version.

    :param change: sends it; tells whether it was carried out.
    :param fate: looks what became of it.
    """
    try:
        return change()
    except AnswerLost as error:
        lost = error
    found = fate()
    if found is Fate.NOT_YET:  # what was sent first may be carried out at any moment: a refusal is looked into again
        found = Fate.DONE if change() else fate()
    if found in (Fate.NOT_YET, Fate.UNKNOWN):
        raise StoreUnavailable(f"{lost}; whether the change was carried out cannot be told") from lost
    return found is Fate.DONE
