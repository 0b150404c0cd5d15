"""A record as the bytes that a key of Redis holds, of which scripts read and change the head.

=======  =======  ================================================================================
offset   bytes    what
=======  =======  ================================================================================
0        4        that it is one of ours
4        4        checksum of all but what a touch moves, and of the key
8        4        checksum of the key alone, which tells the record of another key from a damaged one
12       4        length of the user's name, -1 if there is none
16       16       created, modified
32       16       accessed, expires: a touch writes them in their place
48       8        version
56       120      the 15 versions before, the newest first; a write makes them of those that are there
176               data, then the user's name
=======  =======  ================================================================================
"""

from __future__ import annotations

import math
import zlib
from struct import Struct, error
from typing import Final

from ...record import Record
from ..servers.once import BYTES, REMEMBERED, Standing, standing

MAGIC: Final = b"s2r1"

_START: Final = Struct(">4sIIidd")
_TIMES: Final = Struct(">dd")
_VERSION: Final = Struct(">Q")
_TIME: Final = Struct(">d")
_HEAD: Final = Struct(">4sIIiddddQ")

SENT: Final = _HEAD.size
"""Bytes of the head that come from whoever writes."""
HEAD: Final = SENT + BYTES * (REMEMBERED - 1)
"""Bytes before the data."""
_CHECKED: Final = slice(8, 32)


class OtherKey(ValueError):
    """The record belongs to another key."""


def packed_time(time: float) -> bytes:
    """Return a time as scripts unpack it."""
    return _TIME.pack(time)


def packed_times(accessed: float, expires: float | None) -> bytes:
    """Return what a touch writes."""
    return _TIMES.pack(accessed, math.inf if expires is None else expires)


def packed_version(version: int) -> bytes:
    """Return a version as it stands in a head."""
    return _VERSION.pack(version)


def packed(key: str, record: Record, version: int) -> tuple[bytes, bytes]:
    """Return the head of a record as far as it is sent, and what follows it."""
    user = None if record.user is None else record.user.encode("utf-8", "surrogatepass")
    body = record.data if user is None else record.data + user
    name = key.encode()
    start = _START.pack(MAGIC, 0, zlib.crc32(name), -1 if user is None else len(user), record.created, record.modified)
    mark = _VERSION.pack(version)
    total = _checksum(name, start[_CHECKED], mark, body)
    return b"".join((MAGIC, total.to_bytes(4, "big"), start[_CHECKED], packed_times(record.accessed, record.expires),
                     mark)), body


def _checksum(name: bytes, fixed: bytes, mark: bytes, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(name + fixed + mark))


def record_of(key: str, value: bytes) -> Record:
    """Return the record that a value is; `ValueError` if it is none, `OtherKey` if it is that of another key."""
    name = key.encode()
    try:
        magic, total, owner, length, created, modified, accessed, expires, version = _HEAD.unpack_from(value)
    except error:
        raise ValueError("too short") from None
    if magic != MAGIC:
        raise ValueError("not written by session2")
    if owner != zlib.crc32(name):
        raise OtherKey("it belongs to another key")
    body = memoryview(value)[HEAD:]
    if total != _checksum(name, value[_CHECKED], value[SENT - BYTES:SENT], body):
        raise ValueError("its checksum is wrong")
    end = len(value) - max(length, 0)
    user = None if length < 0 else value[end:].decode("utf-8", "surrogatepass")
    return Record(value[HEAD:end], created, modified, accessed, _ending(expires), user, version)


def glance(head: bytes) -> Record | None:
    """Return what the head of a value, and the beginning of its data, tell of the record; None if it is none."""
    if len(head) < HEAD or head[:4] != MAGIC:
        return None
    _, _, _, _, created, modified, accessed, expires, version = _HEAD.unpack_from(head)
    return Record(head[HEAD:], created, modified, accessed, _ending(expires), None, version)


def standing_of(head: bytes, now: float) -> Standing | None:
    """Return which versions a record has had, of its head; None if there is none."""
    record = glance(head)
    if record is None:
        return None
    recent = head[SENT - BYTES:HEAD].rstrip(bytes(BYTES))
    whole = recent + bytes(-len(recent) % BYTES)  # of a version that ends in zeros
    return standing((record.version, whole, record.expires), now)


def _ending(expires: float) -> float | None:
    return None if expires == math.inf else expires
