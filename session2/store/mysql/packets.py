"""What is sent to a server and what it answers: packets, each of which begins with its length and its number.

PyMySQL makes the connection, encrypts it and logs in.  To ask by one of its cursors takes as long as the server does:
for each column it finds out what that is and how to convert it.  And it asks what the application registered for
types of its own, or the encoding of its connections, which has no part in it here.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Final, TypeAlias

Row: TypeAlias = "tuple[bytes | None, ...]"
"""Values as text or bytes."""

Answer: TypeAlias = "tuple[int, list[Row], int]"
"""How many rows a statement changed or found, these, and the status of the connection after it."""

LONGEST: Final = 0xFFFFFF
"""A packet of so many bytes goes on in the next one."""

_HEAD: Final = Struct("<I")
"""What a packet begins with: three bytes tell its length, one its number."""

_NULL: Final = 0xFB
_WIDTHS: Final = {0xFC: 2, 0xFD: 3, 0xFE: 8}
"""What a larger number begins with, and how many bytes it then takes."""

_DONE, _END, _ERROR = b"\x00", b"\xFE", b"\xFF"
_SHORT: Final = 9
"""A packet that begins as the end does and has so many bytes is a row whose first value is very long."""

_MORE: Final = 8
"""Of the status: another answer follows."""


class Refused(Exception):
    """Raised with the packet in which the server says what went wrong."""

    def __init__(self, packet: bytes) -> None:
        super().__init__()
        self.packet = packet


def framed(content: bytes, number: int) -> bytes:
    """Return a packet with this number; the content is shorter than `LONGEST`."""
    return _HEAD.pack(len(content) | number << 24) + content


def answer(received: bytes, read: Callable[[int], bytes], number: int = 1) -> Answer:
    """Return the answer to a statement.

    Raises `Refused`, and `ValueError` or `LookupError` if it is none.

    :param received: what is there of it already; all, as a rule.
    :param read: waits for so many bytes more, and returns them; and more, if more is there.
    :param number: of its first packet: the one behind the last of the statement.
    """
    packets, rest = _split(received, number)
    while not _is_whole(packets):
        more, rest = _split(rest + read(_missing(rest)), len(packets) + number)
        packets += more
    last = packets[-1]
    if last.startswith(_ERROR):
        raise Refused(last)
    found = _completed(last) if len(packets) == 1 else _found(packets)
    if rest or found[2] & _MORE:
        raise ValueError("this is not the answer to one statement")
    return found


def _split(received: bytes, number: int) -> tuple[list[bytes], bytes]:
    """Return what is in the packets that are there, and what is there of the one behind them."""
    packets, start, size = [], _HEAD.size, len(received)
    while start <= size:
        head, = _HEAD.unpack_from(received, start - _HEAD.size)
        if head >> 24 != number & 0xFF:
            raise ValueError("the packets of the answer are not in order")
        end = start + (head & LONGEST)
        if end > size:
            break
        packets.append(received[start:end])
        number += 1
        start = end + _HEAD.size
    return packets, received[start - _HEAD.size:]


def _missing(packet: bytes) -> int:
    """Return how many bytes are missing, at least, of a packet that has begun."""
    if len(packet) < _HEAD.size:
        return _HEAD.size - len(packet)
    head, = _HEAD.unpack_from(packet)
    return _HEAD.size + int(head & LONGEST) - len(packet)


def _is_whole(packets: list[bytes]) -> bool:
    """Tell whether they are a whole answer: one, or how many columns, these, their end, the rows, and their end."""
    if not packets or packets[0].startswith((_DONE, _ERROR)):
        return bool(packets)
    columns, _ = _number(packets[0], 0)
    last = packets[-1]
    return len(packets) > columns + 2 and len(packets[-2]) < LONGEST \
        and (last.startswith(_ERROR) or (last.startswith(_END) and len(last) < _SHORT))


def _completed(packet: bytes) -> Answer:
    changed, place = _number(packet, 1)
    _, place = _number(packet, place)
    return changed, [], int.from_bytes(packet[place:place + 2], "little")


def _found(packets: list[bytes]) -> Answer:
    columns, _ = _number(packets[0], 0)
    end, *found, last = packets[columns + 1:]
    if not columns or not end.startswith(_END):
        raise ValueError("the answer has more columns than it says")
    rows = list(map(_values, found if max(map(len, found), default=0) < LONGEST else _joined(found)))
    return len(rows), rows, int.from_bytes(last[3:5], "little")


def _joined(packets: list[bytes]) -> list[bytes]:
    """Return packets, with those put together that were too long for one."""
    joined, whole = [], b""
    for packet in packets:
        whole += packet
        if len(packet) < LONGEST:
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
