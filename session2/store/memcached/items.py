"""What a record is in memcached: one item, which also remembers the last versions of the record."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from math import nan
from typing import Final, NamedTuple
from zlib import crc32

from ...record import Record
from ..servers.once import BYTES, REMEMBERED, Standing, standing, written
from .wire import Item

# Mark of the format, checksum, times (an `expires` of NaN is none), lengths of the user (-1: none) and of the versions.
# After it come the user, the versions, the newest first, and the data.
_HEAD: Final = struct.Struct(">4sI4diH")
_FORMAT: Final = b"s2m1"
_SUMMED_FROM: Final = 8


class ItemVersion:
    """The version of a record, with what is known of the item it stands in.

    Only `mark` counts.  memcached has a number of its own for each change of an item, its *cas unique*; that changes
    with a touch too, and begins anew when memcached does.  So it is no version, but saves asking again.

    :param recent: this version and those before, as `written`.
    :param expires: when the record does.
    :param cas: the cas unique, if it is known.
    :param run: the run of the memcached that this is of.
    """

    __slots__ = ("cas", "expires", "mark", "recent", "run")

    def __init__(self, recent: bytes, expires: float | None, cas: bytes = b"", run: Hashable = None) -> None:
        self.mark, self.recent = recent[:BYTES], recent
        self.expires, self.cas, self.run = expires, cas, run

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ItemVersion) and self.mark == other.mark

    def __hash__(self) -> int:
        return hash(self.mark)

    def __repr__(self) -> str:
        return str(self.number)

    @property
    def number(self) -> int:
        """The version, as those are told what became of a change."""
        return int.from_bytes(self.mark, "big")

    def successor(self, number: int) -> ItemVersion:
        """Return the version with this number that follows."""
        return ItemVersion((written(number) + self.recent)[:REMEMBERED * BYTES], None)

    def standing(self, now: float) -> Standing:
        """Return what this tells of changes whose answers were lost."""
        return standing((self.number, self.recent, self.expires), now)


class Seen(NamedTuple):
    """A record with its version, whose type is known."""

    record: Record
    version: ItemVersion


def pack(key: str, record: Record, version: ItemVersion) -> bytes:
    """Return the item for a record."""
    data, created, modified, accessed, expires, user, _ = record
    name = b"" if user is None else user.encode("utf-8", "surrogatepass")
    head = _HEAD.pack(_FORMAT, 0, created, modified, accessed, nan if expires is None else expires,
                      -1 if user is None else len(name), len(version.recent))
    body = b"".join((head[_SUMMED_FROM:], name, version.recent, data))
    return b"".join((_FORMAT, crc32(body, crc32(key.encode())).to_bytes(4, "big"), body))


def unpack(key: str, item: Item) -> Seen:
    """Return the record of an item; `ValueError` if it is none, or that of another key."""
    value = item.value
    try:
        mark, checksum, created, modified, accessed, end, length, size = _HEAD.unpack_from(value)
    except struct.error:
        raise ValueError("it is too short") from None
    if mark != _FORMAT or checksum != crc32(memoryview(value)[_SUMMED_FROM:], crc32(key.encode())):
        raise ValueError("it is not as session2 writes it")
    start = _HEAD.size if length < 0 else _HEAD.size + length
    user = None if length < 0 else value[_HEAD.size:start].decode("utf-8", "surrogatepass")
    expires = end if end == end else None  # NaN equals nothing
    version = ItemVersion(value[start:start + size], expires, item.cas, item.run)
    return Seen(Record(value[start + size:], created, modified, accessed, expires, user, version), version)
