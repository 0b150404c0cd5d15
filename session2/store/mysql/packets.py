"""What a server answers: a run of packets, each of which begins with its length and its number.

PyMySQL makes the connection, encrypts it, logs in and sends.  To read an answer by one of its cursors takes as long as
the server does: for each column it finds out what that is and how to convert it.  And it asks what the application
registered for types of its own, or the encoding of its connections, which has no part in it here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final, TypeAlias

Row: TypeAlias = "tuple[bytes | None, ...]"

_HEAD: Final = Struct("<I")
"""What a packet begins with: three bytes tell its length, one its number."""

_NULL: Final = 0xFB
_WIDTHS: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""What a larger number begins with, and how many bytes it then takes."""

_END, _ERROR = b"\xFE", b"\xFF"
_SHORT: Final = 9
"""A packet that begins as the end does and has so many bytes is a row whose first value is very long."""

_LONGEST: Final = 0xFFFFFF
"""A packet of so many bytes goes on in the next one."""

_MORE: Final = 8
"""Of the status: another answer follows."""


class Refused(Exception):
    """Raised with the packet in which the server says what went wrong."""

    def __init__(self, packet: bytes) -> None:
        super().__init__()
        self.packet = packet


def completed(packet: bytes) -> tuple[int, int]:
    """Return how many rows a statement changed, and the status of the connection after it."""
    changed, place = _number(packet, 1)
    _, place = _number(packet, place)
    status = int.from_bytes(packet[place:place + 2], "little")
    if status & _MORE:
        raise ValueError("this is not the answer to one statement")
    return changed, status


def rows(first: bytes, number: int, received: bytes, read: Callable[[int], bytes]) -> list[Row]:
    """Return the rows of an answer, all values as text or bytes.

    :param first: its first packet, which says how many columns there are.
    :param number: that of the next one.
    :param received: what is there already of the rest.
    :param read: waits for so many bytes more, and returns them.
    """
    columns, _ = _number(first, 0)
    packets, rest = _split(received, number)
    while not _is_whole(packets[columns:]):
        more, rest = _split(_with_one_more(rest, read), number + len(packets))
        packets += more
    end, *found, last = packets[columns:]
    if last.startswith(_ERROR):
        raise Refused(last)
    if not end.startswith(_END) or last[3] & _MORE or rest:
        raise ValueError("this is not the answer to one statement")
    return list(map(_values, found if max(map(len, found), default=0) < _LONGEST else _joined(found)))


def _split(received: bytes, number: int) -> tuple[list[bytes], bytes]:
    """Return what is in the packets that are there, and what is there of the one behind them."""
    packets, start, size = [], _HEAD.size, len(received)
    while start <= size:
        head, = _HEAD.unpack_from(received, start - _HEAD.size)
        if head >> 24 != number & 0xFF:
            raise ValueError("the packets of the answer are not in order")
        end = start + (head & _LONGEST)
        if end > size:
            break
        packets.append(received[start:end])
        number += 1
        start = end + _HEAD.size
    return packets, received[start - _HEAD.size:]


def _with_one_more(received: bytes, read: Callable[[int], bytes]) -> bytes:
    """Return what is there of a packet, and all that is missing of it."""
    if len(received) < _HEAD.size:
        received += read(_HEAD.size - len(received))
    head, = _HEAD.unpack_from(received)
    return received + read(_HEAD.size + (head & _LONGEST) - len(received))


def _is_whole(tail: Sequence[bytes]) -> bool:
    """Tell of what stands behind the columns whether it is all there: their end, the rows, and the end of those."""
    if len(tail) < 2 or len(tail[-2]) == _LONGEST:
        return False
    last = tail[-1]
    return last.startswith(_ERROR) or (last.startswith(_END) and len(last) < _SHORT)


def _joined(packets: list[bytes]) -> list[bytes]:
    """Return packets, with those put together that were too long for one."""
    joined, whole = [], b""
    for packet in packets:
        whole += packet
        if len(packet) < _LONGEST:
            joined.append(whole)
            whole = b""
    return joined


def _values(row: bytes) -> Row:
    values: list[bytes | None] = []
    place, end = 0, len(row)
    while place < end:
        length = row[place]
        if length < _NULL:
            place += 1
        elif length == _NULL:
            values.append(None)
            place += 1
            continue
        else:
            length, place = _number(row, place)
        values.append(row[place:place + length])
        place += length
    if place != end:
        raise ValueError("a row of the answer is not whole")
    return tuple(values)


def _number(packet: bytes, place: int) -> tuple[int, int]:
    """Return the number that stands at a place, and the place behind it."""
    number = packet[place]
    if number < _NULL:
        return number, place + 1
    end = place + 1 + _WIDTHS[number]
    return int.from_bytes(packet[place + 1:end], "little"), end
