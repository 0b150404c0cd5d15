"""What the Durus store keeps in a database: B-trees of records, and indexes of them by user and by when they expire.

Each session is one persistent object, so that saving it writes little more than the session itself, and a conflict
between two transactions is one about that session.  The objects hang in several B-trees, chosen by the key, so that
sessions can be created at the same time.  Nothing in the database refers to a class of this package.

An index changes in the transaction that changes the record.  It has a B-tree beside each of the others, chosen by the
key too: what deletes records of one B-tree collides with logins there only, and those of one user seldom collide.  It
says where to look; the record, what is true.  Under `due` a record is filed for a time that is not after it expires;
when it is used on, it stays there, until a purge that comes at that time files it anew.
"""

from __future__ import annotations

import hashlib
import pickle
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Any, Final, NamedTuple, TypeAlias

from ...errors import ConfigurationError, StoreMissing
from ...record import Record
from .driver import driver

_FORMAT = 3
_SHARDS = 32  # for a new database; an existing one keeps its number

# A persistent object is a list: the key, the record, the versions before, and for what time it is filed.
_RECORD: Final = slice(1, 8)
_TIMES: Final = slice(4, 6)
_PAST: Final = 8
_DUE: Final = 9

_LAST: Final = 10**12 - 1  # a time of as many digits as all the others

_DAMAGE: Final = (pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, ImportError, TypeError,
                  OverflowError, AssertionError, NameError, struct.error, zlib.error)
"""What comes of decoding damaged bytes.  Out of memory, an expired time limit and the like say nothing about them."""

Part: TypeAlias = list[tuple[str, Record | None]]
"""Keys with their records; None for one that is damaged or gone."""

Place: TypeAlias = tuple[int, str | None]
"""The number of a B-tree, and the last key seen there."""


class Trees(NamedTuple):
    """Our B-trees."""

    records: tuple[Any, ...]
    """Of persistent objects, by key."""
    users: tuple[Any, ...]
    """The index by user: each key is the digest of a user, and the key of a record."""
    due: tuple[Any, ...]
    """The index by time: each key is a time in seconds, and the key of a record."""
    damaged: Callable[[str, str], None]
    """Told of keys whose record cannot be read, and why."""


def open_trees(connection: Any, damaged: Callable[[str, str], None], create: bool, missing_is_empty: bool,
               drop: bool = False) -> Trees:
    """Return our B-trees.

    :param create: make them where there are none.
    :param missing_is_empty: where there are none and none are made, return empty ones that stay outside the database;
        otherwise that is `StoreMissing`.
    """
    durus = driver()
    root = connection.get_root()
    ours = root.get("session2")
    if ours is not None and not (isinstance(ours, durus.persistent_dict) and "format" in ours):
        raise ConfigurationError("root['session2'] of the Durus database is something else; use another database")
    if ours is None and not (create or missing_is_empty):
        raise StoreMissing("the Durus database holds nothing of session2", StoreMissing.CREATE)
    if ours is None or drop:
        records, users, due = (tuple(durus.btree() for _ in range(_SHARDS)) for _ in range(3))
        ours = durus.persistent_dict(format=_FORMAT, records=records, users=users, due=due)
        if create:
            root["session2"] = ours
    elif ours["format"] != _FORMAT:
        raise ConfigurationError("the Durus database has the format of another version of session2; end its sessions "
                                 "by setup(drop=True) or `session2 setup --drop`, or use another database")
    return Trees(ours["records"], ours["users"], ours["due"], damaged)


# -- one record -------------------------------------------------------------------------------------------------------


def find(trees: Trees, key: str) -> tuple[Any, Record | None]:
    """Return the persistent object under the key, and the record in it: None if it is damaged or there is none."""
    entry = _shard(trees.records, key).get(key)
    if entry is None:
        return None, None
    record = _decode(trees, key, entry)
    if record is not None and entry[0] != key:
        raise driver().error("an answer came that belongs to another question")
    return entry, record


def past(entry: Any) -> tuple[Any, ...]:
    """Return the versions that were there before, the newest first."""
    return tuple(entry[_PAST])


def store(trees: Trees, key: str, entry: Any, before: Record | None, record: Record, versions: tuple[Any, ...]) -> None:
    """Put the record under the key.

    :param entry: the persistent object there, and
    :param before: the record in it, if that is not damaged.
    :param versions: what was there before.
    """
    filed = _file(trees, key, entry[_DUE] if before is not None else None, record.expires)
    state = [key, *record, versions, filed]
    if before is None:  # what is damaged may not even be a list
        put(trees, key, state)
    else:
        entry[:] = state
    _index(trees, key, before, record)


def put(trees: Trees, key: str, state: list[Any]) -> None:
    _shard(trees.records, key)[key] = driver().persistent_list(state)


def touch(trees: Trees, key: str, entry: Any, accessed: float, expires: float | None) -> None:
    entry[_TIMES] = [accessed, expires]
    filed = _file(trees, key, entry[_DUE], expires)
    if filed != entry[_DUE]:
        entry[_DUE] = filed


def delete(trees: Trees, key: str, entry: Any, record: Record | None) -> None:
    """Delete what is under the key: `record`, or what is damaged."""
    del _shard(trees.records, key)[key]
    if record is not None:
        _unfile(trees, key, entry[_DUE])
    _index(trees, key, record, None)


# -- many -------------------------------------------------------------------------------------------------------------


def part(trees: Trees, size: int, place: Place = (0, None)) -> tuple[Part, Place | None]:
    """Return at most `size` records of one B-tree, and the place to go on from; None at the end."""
    number, last = place
    if number >= len(trees.records):
        return [], None
    items = islice(trees.records[number].items_from(last or "", closed=last is None), size)
    found = [(key, _of_key(trees, key, entry)) for key, entry in items]
    return found, (number, found[-1][0]) if len(found) == size else (number + 1, None)


def part_of_user(trees: Trees, size: int, user: str, place: Place = (0, None)) -> tuple[Part, Place | None]:
    """Return at most `size` records that are the user's, or were, and the place to go on from; None at the end."""
    places = list(islice(_places_of_user(trees, user, place), size))
    found = [(key, find(trees, key)[1]) for _, key in places]
    return found, places[-1] if len(places) == size else None


def due(trees: Trees, number: int, now: float, size: int, last: str = "") -> tuple[list[str], str | None]:
    """Return keys of at most `size` records of one B-tree that have expired, and where to go on; None at the end.

    Those that are used on are filed anew.  What cannot have expired is not read.
    """
    limit = f"{_second(now):012d}~"  # after every key that is filed for this second
    items = takewhile(lambda item: item[0] < limit, trees.due[number].items_from(last, closed=False))
    entries = [entry for entry, _ in islice(items, size)]
    return ([entry[12:] for entry in entries if _is_due(trees, entry, now)],
            entries[-1] if len(entries) == size else None)


def _is_due(trees: Trees, filed: str, now: float) -> bool:
    second, key = int(filed[:12]), filed[12:]
    entry, record = find(trees, key)
    if record is not None and entry[_DUE] == second:
        if not record.is_live(now):
            return True
        if record.expires is None or _second(record.expires) != second:
            _unfile(trees, key, second)
            entry[_DUE] = _file(trees, key, None, record.expires)
    else:  # left of a record that was damaged
        _unfile(trees, key, second)
    return False


def _places_of_user(trees: Trees, user: str, place: Place) -> Iterator[tuple[int, str]]:
    digest = _digest(user)
    first, last = place
    for number, tree in enumerate(trees.users[first:], first):
        for entry, _ in tree.items_from(digest + (last or ""), closed=last is None):
            if not entry.startswith(digest):
                break
            yield number, entry[len(digest):]
        last = None


# -- the indexes ------------------------------------------------------------------------------------------------------


def _index(trees: Trees, key: str, before: Record | None, after: Record | None) -> None:
    """Change the index as the record changes; it is not even read where the user stays the same.

    Whose a damaged record was, nobody knows: its entry stays behind, and may be there already when it is replaced.
    """
    old, new = before and before.user, after and after.user
    if old == new:
        return
    tree = _shard(trees.users, key)
    if old is not None:
        tree.pop(_digest(old) + key, None)
    if new is not None:
        tree.add(_digest(new) + key)


def _file(trees: Trees, key: str, filed: int | None, expires: float | None) -> int | None:
    """File the record for when it expires, unless it is for a time before; return for which it is."""
    if expires is None or (filed is not None and filed <= _second(expires)):
        return filed
    _unfile(trees, key, filed)
    _shard(trees.due, key).add(f"{_second(expires):012d}{key}")
    return _second(expires)


def _unfile(trees: Trees, key: str, filed: int | None) -> None:
    if filed is not None:
        _shard(trees.due, key).pop(f"{filed:012d}{key}", None)


def _second(time: float) -> int:
    return int(max(0, min(_LAST, time)))


def _digest(user: str) -> str:
    """Return what stands for a user in the index: a name may be of any length, and the nodes are written as a whole."""
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _shard(shards: Any, key: str) -> Any:
    return shards[zlib.crc32(key.encode("utf-8", "surrogatepass")) % len(shards)]


# -- what is in a persistent object -----------------------------------------------------------------------------------


def _of_key(trees: Trees, key: str, entry: Any) -> Record | None:
    record = _decode(trees, key, entry)
    if record is not None and entry[0] != key:
        trees.damaged(key, "it is the record of another key")
        return None
    return record


def _decode(trees: Trees, key: str, entry: Any) -> Record | None:
    """Return the record in a persistent object, None if it is damaged."""
    problem = _load(entry) if isinstance(entry, driver().persistent_list) else "it holds something else"
    try:
        if not problem:
            record = Record(*entry[_RECORD])
            if isinstance(record.data, bytes) and isinstance(entry[_PAST], tuple) and len(entry) == _DUE + 1:
                return record
            problem = "it holds something else"
    except (TypeError, LookupError, AttributeError) as error:
        problem = _text(error)
    trees.damaged(key, problem)
    return None


def _load(entry: Any) -> str:
    """Have the state of a persistent object read; return what is wrong with it.

    Durus would do so at the first access.  Here what fails between us and the database is told from what its bytes are.
    """
    if not entry._p_is_ghost():
        return ""
    connection = entry._p_connection
    try:
        stored = connection.get_stored_pickle(entry._p_oid)
    except KeyError as error:  # packed away meanwhile
        raise driver().conflict([entry._p_oid]) from error
    try:
        entry.__setstate__(connection.reader.get_state(stored))
    except _DAMAGE as error:
        return _text(error)
    entry._p_set_status_saved()
    return ""


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
