"""What the Durus store keeps in a database: B-trees of records, and an index of them by user.

Each session is one persistent object, so that saving it writes little more than the session itself, and a conflict
between two transactions is one about that session.  The objects hang in several B-trees, chosen by the key, so that
sessions can be created at the same time.  Nothing in the database refers to a class of this package.

The index changes in the transaction that changes the user of a record.  It has a B-tree beside each of the others,
chosen by the key too: what deletes records of one B-tree collides with logins there only, and those of one user seldom
collide.  It says where to look; the record, what is true.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from ...errors import ConfigurationError
from ...record import Record
from .driver import driver

log = logging.getLogger("session2")

_FORMAT = 2
_SHARDS = 32  # for a new database; an existing one keeps its number

Part: TypeAlias = list[tuple[str, Record | None]]
"""Keys with their records; None for one that is damaged or gone."""

Place: TypeAlias = tuple[int, str | None]
"""The number of a B-tree, and the last key seen there."""


class Trees(NamedTuple):
    """Our B-trees."""

    records: tuple[Any, ...]
    """Of persistent objects, by key."""
    users: tuple[Any, ...]
    """The index: each key is the digest of a user, and the key of a record."""


def open_trees(connection: Any, create: bool, drop: bool) -> Trees:
    """Return our B-trees; where there are none and none are to be made, empty ones that stay outside the database."""
    durus = driver()
    root = connection.get_root()
    ours = root.get("session2")
    if ours is not None and not (isinstance(ours, durus.persistent_dict) and "format" in ours):
        raise ConfigurationError("root['session2'] of the Durus database is something else; use another database")
    if ours is None or drop:
        records, users = (tuple(durus.btree() for _ in range(_SHARDS)) for _ in range(2))
        ours = durus.persistent_dict(format=_FORMAT, records=records, users=users)
        if create:
            root["session2"] = ours
    elif ours["format"] != _FORMAT:
        raise ConfigurationError("the Durus database has the format of another version of session2; end its sessions "
                                 "by setup(drop=True) or `session2 setup --drop`, or use another database")
    return Trees(ours["records"], ours["users"])


def find(trees: Trees, key: str) -> tuple[Any, Record | None]:
    """Return the persistent object under the key, and the record in it: None if it is damaged or there is none."""
    entry = _shard(trees.records, key).get(key)
    return entry, None if entry is None else _decode(key, entry)


def put(trees: Trees, key: str, state: list[Any]) -> None:
    _shard(trees.records, key)[key] = driver().persistent_list(state)


def delete(trees: Trees, key: str, record: Record | None) -> None:
    """Delete what is under the key: `record`, or what is damaged."""
    del _shard(trees.records, key)[key]
    index(trees, key, record, None)


def index(trees: Trees, key: str, before: Record | None, after: Record | None) -> None:
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


def part(trees: Trees, size: int, place: Place = (0, None)) -> tuple[Part, Place | None]:
    """Return at most `size` records of one B-tree, and the place to go on from; None at the end."""
    number, last = place
    if number >= len(trees.records):
        return [], None
    items = islice(trees.records[number].items_from(last or "", closed=last is None), size)
    found = [(key, _decode(key, entry)) for key, entry in items]
    return found, (number, found[-1][0]) if len(found) == size else (number + 1, None)


def part_of_user(trees: Trees, size: int, user: str, place: Place = (0, None)) -> tuple[Part, Place | None]:
    """Return at most `size` records that are the user's, or were, and the place to go on from; None at the end."""
    places = list(islice(_places_of_user(trees, user, place), size))
    found = [(key, find(trees, key)[1]) for _, key in places]
    return found, places[-1] if len(places) == size else None


def _places_of_user(trees: Trees, user: str, place: Place) -> Iterator[tuple[int, str]]:
    digest = _digest(user)
    first, last = place
    for number, tree in enumerate(trees.users[first:], first):
        for entry, _ in tree.items_from(digest + (last or ""), closed=last is None):
            if not entry.startswith(digest):
                break
            yield number, entry[len(digest):]
        last = None


def _digest(user: str) -> str:
    """Return what stands for a user in the index: a name may be of any length, and the nodes are written as a whole."""
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _shard(shards: Any, key: str) -> Any:
    return shards[zlib.crc32(key.encode("utf-8", "surrogatepass")) % len(shards)]


def _decode(key: str, entry: Any) -> Record | None:
    """Return the record in a persistent object, None (and a log line) if it is damaged."""
    try:
        record = Record(*entry[:7])
        if isinstance(record.data, bytes) and isinstance(entry[7], tuple):
            return record
        problem = "it holds something else"
    except (OSError, driver().error):
        raise
    except Exception as error:  # a damaged pickle can raise anything
        problem = str(error) or type(error).__name__
    log.warning("corrupt record %.8s is treated as missing: %s", key, problem)
    return None
