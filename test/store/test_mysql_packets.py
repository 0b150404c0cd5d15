"""Answers of MySQL, made by hand: cut anywhere, with values of every length, and such as are none."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pytest

from session2.store.mysql.packets import LONGEST, Answer, Refused, Row, answer, framed

END = b"\xfe\0\0\2\0"
MORE = b"\xfe\0\0\x0a\0"


def value(data: bytes | None) -> bytes:
    """Return a value with its length before it."""
    if data is None:
        return b"\xfb"
    size = len(data)
    if size < 251:
        return bytes([size]) + data
    width, mark = next((width, mark) for width, mark in ((2, 0xFC), (3, 0xFD), (8, 0xFE)) if size < 256 ** width)
    return bytes([mark]) + size.to_bytes(width, "little") + data


def in_packets(*contents: bytes) -> bytes:
    return b"".join(_packets(contents, 1))


def _packets(contents: Iterable[bytes], number: int) -> Iterator[bytes]:
    for content in contents:
        for start in range(0, len(content) + 1, LONGEST):
            yield framed(content[start:start + LONGEST], number % 256)
            number += 1


def sent(found: list[Row], columns: int, end: bytes = END) -> bytes:
    """Return an answer as it is sent."""
    lines = [b"".join(map(value, row)) for row in found]
    return in_packets(bytes([columns]), *[b"a column"] * columns, END, *lines, end)


def read(whole: bytes, cut: int | None = None, least: int = 0) -> Answer:
    """Read an answer of which so many bytes are there at first; then come what is asked for, or so many at least."""
    file = io.BytesIO(whole)

    def more(count: int) -> bytes:
        data = file.read(max(count, least))
        if len(data) < count:
            raise ConnectionError("nothing more comes")
        return data

    return answer(file.read(cut), more)


MANY = [(str(number).encode(), b"", bytes(size)) for number in range(30) for size in (0, 250, 251, 252, 70000)]


@pytest.mark.parametrize("found", [[], [(b"key", None, b"x" * 300)], MANY], ids=["none", "one", "many"])
def test_an_answer_is_whole_however_it_is_cut(found: list[Row]) -> None:
    whole = sent(found, 3)
    for cut in {*range(60), *range(60, len(whole), max(len(whole) // 50, 1)), *range(len(whole) - 15, len(whole) + 1)}:
        if 0 <= cut <= len(whole):
            assert read(whole, cut) == read(whole, cut, 100) == (len(found), found, 2)


@pytest.mark.parametrize("tail", [b"", b"\xfe\0\0", b"\xff\0\0", b"x" * 20], ids=repr)
def test_a_row_may_take_several_packets(tail: bytes) -> None:
    """What the second one begins with may look like an end; of the last one the first does, for it is so long."""
    found: list[Row] = [(bytes(LONGEST - 4) + tail,), (b"y",)]
    whole = sent(found, 1)
    for cut in LONGEST, len(whole):
        assert read(whole, cut) == (2, found, 2)


def test_what_the_server_refuses_is_told() -> None:
    with pytest.raises(Refused) as told:
        read(sent([(b"row",)], 1, b"\xff\x28\x04#HY000too late"))
    assert told.value.packet.endswith(b"too late")


WHOLE = sent([(b"row",)], 1)
DONE = b"\0\1\0\2\0\0\0"


@pytest.mark.parametrize("odd", [
    WHOLE + WHOLE[:3], WHOLE + WHOLE, WHOLE[5:], sent([(b"row",)], 1, MORE), sent([(b"row",)], 2)[:5] + WHOLE[5:],
    in_packets(b"\1", b"a", b"b", END, END), in_packets(b"\1", b"a", END, b"\5row", END),
    in_packets(b"\1", b"a", END, b"\xff", END), in_packets(b"\xfbfile", b"a", END, END), in_packets(DONE, DONE),
    in_packets(DONE, END, END), in_packets(b"\0\1\0\x0a\0\0\0"), in_packets(b"\0"), in_packets(b"", END, END)],
    ids=repr)
def test_what_is_no_answer_is_not_believed(odd: bytes) -> None:
    with pytest.raises((ValueError, LookupError, Refused, ConnectionError)):
        read(odd)


def test_an_answer_that_stops_is_waited_for() -> None:
    for cut in range(len(WHOLE)):
        with pytest.raises(ConnectionError):
            read(WHOLE[:cut])


def test_what_a_change_came_to() -> None:
    assert read(in_packets(DONE)) == (1, [], 2)
    assert read(in_packets(b"\0\xfc\0\1\0\1\0\0\0"), 2) == (256, [], 1)
    with pytest.raises(Refused):
        read(in_packets(b"\xff\x28\x04#HY000no"))
