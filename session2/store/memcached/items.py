"""What a record is in memcached: one item, which also remembers the last versions of the record."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Hashable
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Final

from ...record import Record
from ..sql.once import BYTES, REMEMBERED, Standing, standing, written

# Mark of the format, checksum, times (an `expires` of NaN is none), lengths of the user (-1: none) and of the versions.
# After it come the user, the versions, the newest first, and the data.
_HEAD: Final = struct.Struct(">4sI4diH")
_MARK: Final = b"s2m1"
_SUMMED_FROM: Final = 8


@dataclass(frozen=True, slots=True)
class ItemVersion:
    """The version of a record, with what is known of the item it stands in.

    Only the number counts.  memcached has a number of its own for each change of an item, its *cas unique*; it also
    changes with a touch, and begins anew when memcached does.  So it is no version, but saves asking again.
    """

    number: int
    recent: bytes = field(repr=False, compare=False)
    """This and the versions before, as `written`."""
    expires: float | None = field(default=None, repr=False, compare=False)
    cas: bytes = field(default=b"", repr=False, compare=False)
    run: Hashable = field(default=None, repr=False, compare=False)
    """The run of the memcached in which the item has this cas unique."""

    def standing(self, now: float) -> Standing:
        """Return what this tells of changes whose answers were lost."""
        return standing((self.number, self.recent, self.expires), now)


def successor(number: int, before: ItemVersion | None) -> ItemVersion:
    """Return the version with this number that follows another one, or none."""
    return ItemVersion(number, (written(number) + (before.recent if before else b""))[:REMEMBERED * BYTES])


def pack(key: str, record: Record, version: ItemVersion) -> bytes:
    """Return the item for a record."""
    user = b"" if record.user is None else record.user.encode("utf-8", "surrogatepass")
    head = _HEAD.pack(_MARK, 0, record.created, record.modified, record.accessed,
                      nan if record.expires is None else record.expires, -1 if record.user is None else len(user),
                      len(version.recent))
    body = b"".join((head[_SUMMED_FROM:], user, version.recent, record.data))
    return b"".join((_MARK, _sum(key, body).to_bytes(4, "big"), body))


def unpack(key: str, item: bytes, cas: bytes, run: Hashable) -> Record:
    """Return the record of an item; `ValueError` if it is none, or that of another key."""
    try:
        mark, checksum, created, modified, accessed, end, user_size, size = _HEAD.unpack_from(item)
    except struct.error:
        raise ValueError("it is too short") from None
    if mark != _MARK or checksum != _sum(key, memoryview(item)[_SUMMED_FROM:]):
        raise ValueError("it is not as session2 writes it")
    start = _HEAD.size + max(user_size, 0)
    user = None if user_size < 0 else item[_HEAD.size:start].decode("utf-8", "surrogatepass")
    recent, expires = item[start:start + size], None if isnan(end) else end
    version = ItemVersion(int.from_bytes(recent[:BYTES], "big"), recent, expires, cas, run)
    return Record(item[start + size:], created, modified, accessed, expires, user, version)


def _sum(key: str, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(key.encode()))
