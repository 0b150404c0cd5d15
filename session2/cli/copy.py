"""Copying the records of one store into another, so that it can be interrupted, repeated and trusted."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final

from .. import traces
from ..errors import ConfigurationError, Conflict, SessionError, StoreUnavailable
from ..record import Record
from ..store.base import SessionStore


class Fate(enum.Enum):
    """What became of a record."""

    COPIED = "copied"
    EQUAL = "equal"
    """It was there already."""
    KEPT = "kept"
    """The target has a newer one."""
    FAILED = "failed"
    """The target would not take it."""
    VERIFIED = "verified"
    """Read back, it is what the source holds, or newer."""
    DIFFERENT = "different"
    """Read back, it is not what the source holds by now."""


PLANNED: Final = (Fate.COPIED, Fate.EQUAL, Fate.KEPT)
"""What `plan` can tell."""


def check(source: SessionStore, target: SessionStore) -> None:
    """Refuse two stores between which records lose their meaning."""
    if source.hash_ids != target.hash_ids:
        raise ConfigurationError("one store files sessions under their ids, the other under hashes of them; a copy "
                                 "would not be found.  Give both URLs the same hash_ids")
    if source.serializer.tag != target.serializer.tag:
        raise ConfigurationError("the stores are made for different formats and a copy could not be read.  Give both "
                                 "URLs the same serializer")


def copy(source: SessionStore, target: SessionStore, overwrite: bool,
         complain: Callable[[str, str], object]) -> Iterator[Fate]:
    """Copy each record, with its times; yields what became of it.  Locks stay behind: nobody holds them over there.

    The traces of sessions go along: who was logged out in the source meanwhile is so in the target.

    :param overwrite: also replace what is newer in the target, but no session that has ended there.
    :param complain: called with key and reason for a record the target refuses.
    """
    for key, record in _records(source):
        try:
            yield _copy_one(target, key, record, overwrite)
        except StoreUnavailable:
            raise
        except (SessionError, ValueError) as error:
            complain(key, str(error))
            yield Fate.FAILED


def plan(source: SessionStore, target: SessionStore | None, overwrite: bool) -> Iterator[Fate]:
    """Yield what would become of each record; nothing is written.

    :param target: None: it is not there yet.
    """
    for key, record in _records(source):
        yield _fate(None if target is None else _read(target, key), record, overwrite)


def verify(source: SessionStore, target: SessionStore, complain: Callable[[str, str], object]) -> Iterator[Fate]:
    """Read everything again, on both sides, and compare."""
    for key, record in _records(source):
        found = _read(target, key)
        if _fate(found, record, overwrite=False) is not Fate.COPIED:
            yield Fate.VERIFIED
        elif source.read(key) is not None:  # otherwise it has just ended
            complain(key, "is missing in the target" if found is None else "differs in the target")
            yield Fate.DIFFERENT


def _records(store: SessionStore) -> Iterator[tuple[str, Record]]:
    return ((key, record) for key, record in store.scan() if not traces.is_lock(key))


def _read(store: SessionStore, key: str) -> Record | None:
    try:
        return store.read(key)
    except StoreUnavailable:
        raise
    except (SessionError, ValueError):  # a key the store would not take is nowhere in it
        return None


def _copy_one(target: SessionStore, key: str, record: Record, overwrite: bool) -> Fate:
    for _ in range(10):
        found = target.read(key)
        fate = _fate(found, record, overwrite)
        if fate is not Fate.COPIED:
            return fate
        try:
            _put(target, key, record, found, overwrite)
        except Conflict:  # the target is in use
            continue
        return fate
    raise SessionError("it kept changing in the target")


def _fate(found: Record | None, record: Record, overwrite: bool) -> Fate:
    if found is None:
        return Fate.COPIED
    if _same(found, record):
        return Fate.EQUAL
    if _is_end(found) != _is_end(record):  # an id does not come back
        return Fate.KEPT if _is_end(found) else Fate.COPIED
    return Fate.KEPT if _is_newer(found, record) and not overwrite else Fate.COPIED


def _put(target: SessionStore, key: str, record: Record, found: Record | None, overwrite: bool) -> None:
    if found is None:
        target.write(key, record, None)
    elif _state(found) == _state(record) and record.accessed > found.accessed:
        target.touch(key, record.accessed, record.expires)
    elif found.accessed > record.accessed and not overwrite and not traces.is_trace(record):
        # The idle clock never goes backwards.
        target.write(key, record._replace(accessed=found.accessed, expires=found.expires), found.version)
    else:
        target.write(key, record, found.version)


def _same(one: Record, other: Record) -> bool:
    return one._replace(version=None) == other._replace(version=None)


def _state(record: Record) -> tuple[object, ...]:
    return record.data, record.created, record.modified, record.user


def _is_end(record: Record) -> bool:
    """Tell whether a record is the trace of a session that does not go on under its key."""
    return traces.is_trace(record) and not traces.is_emptied(record) and not traces.is_moved(record)


def _is_newer(found: Record, record: Record) -> bool:
    return (found.modified, found.accessed) > (record.modified, record.accessed)
