"""What former systems write texts in: Base64, signatures, compressed and tagged JSON, moments."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from datetime import datetime, timezone
from typing import Any, Final

from ..known import Unreadable
from ..opcodes import Refused, check
from ..unpickle import MOST_BYTES, Unpickler

LATEST: Final = 1e12
"""Seconds since the epoch: a later time is none, but damage."""


def from_base64(text: str | bytes) -> bytes:
    """Return the bytes that a text in Base64, usual or as for URLs and with or without ``=``, stands for."""
    data = text.encode("ascii", "replace") if isinstance(text, str) else text
    data = data.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error:
        raise Unreadable("it is damaged") from None


def inflated(data: bytes) -> bytes:
    """Return what zlib has compressed."""
    unpacker = zlib.decompressobj()
    try:
        found = unpacker.decompress(data, MOST_BYTES)
    except zlib.error:
        raise Unreadable("it is damaged") from None
    if unpacker.unconsumed_tail:
        raise Unreadable(f"it is larger than {MOST_BYTES} bytes")
    if not unpacker.eof:
        raise Unreadable("it is damaged")
    return found


def from_json(data: bytes) -> Any:
    """Return the value that JSON stands for, if it is no larger and no deeper than that of a pickle may be."""
    try:
        return Unpickler().plain(json.loads(data))
    except (ValueError, RecursionError):
        raise Unreadable("it is damaged") from None


def moment(value: Any) -> float | None:
    """Return a number of seconds since the epoch if that is what it is."""
    is_time = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < LATEST
    return float(value) if is_time else None


def moment_of(value: Any, is_local: bool = False) -> float | None:
    """Return a date and time, which may be text as in SQLite, as seconds since the epoch.

    :param is_local: of one that does not tell: whether it is the time of this machine, and not UTC.
    """
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(found, datetime):
            return None
        known = found.tzinfo is not None or is_local
        return (found if known else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def two_pickles(data: bytes) -> tuple[bytes, bytes]:
    """Return the first pickle in some bytes, and what is behind it."""
    try:
        end = check(data)
    except Refused as error:
        raise Unreadable(str(error)) from None
    except (ValueError, IndexError):
        raise Unreadable("it is damaged") from None
    return data[:end], data[end:]
