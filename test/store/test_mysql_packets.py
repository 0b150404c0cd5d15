"""Answers of MySQL, made by hand: cut anywhere, with values of every length, and such as are none."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pytest

from session2.store.mysql.packets import Refused, Row, completed, rows

END = b"\xfe\0\0\2\0"
MORE = b"\xfe\0\0\x0a\0"
LONGEST = 0xFFFFFF


def value(data: bytes | None) -> bytes:
    """Return a value with its length before it."""
    if data is None:
        return b"\xfb"
    size = len(data)
    if size < 251:
        return bytes([size]) + data
    width, mark = next((width, mark) for width, mark in ((2, 0xFC), (3, 0xFD), (8, 0xFE)) if size < 256 ** width)
    return bytes([mark]) + size.to_bytes(width, "little") + data


def in_packets(contents: Iterable[bytes], number: int) -> Iterator[bytes]:
    for content in contents:
        for start in range(0, len(content) + 1, LONGEST):
            piece = content[start:start + LONGEST]
            yield len(piece).to_bytes(3, "little") + bytes([number % 256]) + piece
            number += 1


def answer(found: list[Row], columns: int, end: bytes = END) -> bytes:
    """Return all behind the first packet of an answer."""
    lines = [b"".join(map(value, row)) for row in found]
    return b"".join(in_packets([*[b"a column"] * columns, END, *lines, end], 2))


def read(whole: bytes, columns: int, cut: int | None = None) -> list[Row]:
    """Read an answer of which so many bytes are there at first."""
    file = io.BytesIO(whole)

    def more(count: int) -> bytes:
        data = file.read(count)
        if len(data) < count:
            raise ConnectionError("nothing more comes")
        return data

    return rows(bytes([columns]), 2, more(len(whole) if cut is None else cut), more)


MANY = [(str(number).encode(), b"", bytes(size)) for number in range(30) for size in (0, 250, 251, 252, 70000)]


@pytest.mark.parametrize("found", [[], [(b"key", None, b"x" * 300)], MANY], ids=["none", "one", "many"])
def test_an_answer_is_whole_however_it_is_cut(found: list[Row]) -> None:
    whole = answer(found, 3)
    for cut in {*range(60), *range(60, len(whole), max(len(whole) // 50, 1)), *range(len(whole) - 15, len(whole) + 1)}:
        if 0 <= cut <= len(whole):
            assert read(whole, 3, cut) == found


@pytest.mark.parametrize("tail", [b"", b"\xfe\0\0", b"\xff\0\0", b"x" * 20], ids=repr)
def test_a_row_may_take_several_packets(tail: bytes) -> None:
    """What the second one begins with may look like an end; of the last one the first does, for it is so long."""
    found: list[Row] = [(bytes(LONGEST - 4) + tail,), (b"y",)]
    whole = answer(found, 1)
    for cut in LONGEST, len(whole):
        assert read(whole, 1, cut) == found


def test_what_the_server_refuses_is_told() -> None:
    with pytest.raises(Refused) as told:
        read(answer([(b"row",)], 1, b"\xff\x28\x04#HY000too late"), 1)
    assert told.value.packet.endswith(b"too late")


WHOLE = answer([(b"row",)], 1)


@pytest.mark.parametrize("odd", [
    WHOLE + WHOLE[:3], answer([(b"row",)], 1, MORE), answer([(b"row",)], 2)[12:], b"".join(in_packets([b"c", END], 3)),
    b"".join(in_packets([b"a", b"b", END, END], 2)), b"".join(in_packets([b"a", END, b"\x05row", END], 2)),
    b"".join(in_packets([b"a", END, b"\xff", END], 2))])
def test_what_is_no_answer_is_not_believed(odd: bytes) -> None:
    with pytest.raises((ValueError, LookupError, Refused)):
        read(odd, 1)


def test_an_answer_that_stops_is_waited_for() -> None:
    for cut in range(len(WHOLE)):
        with pytest.raises(ConnectionError):
            read(WHOLE[:cut], 1)


def test_what_a_change_came_to() -> None:
    assert completed(b"\0\1\0\2\0\0\0") == (1, 2)
    assert completed(b"\0\xfc\0\1\0\1\0\0\0") == (256, 1)
    with pytest.raises(ValueError, match="one statement"):
        completed(b"\0\1\0\x0a\0\0\0")
