"""A look at a pickle before it is loaded: what would take the memory, or the stack, of whoever loads it is refused."""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final, NamedTuple

MOST_DEPTH: Final = 200
"""How deep values may lie in one another: comparing, hashing and writing them all take a call for each level."""

_HARMLESS: Final = 500
"""How many values may be made of others before it is looked how deep they lie: so deep they can be hashed anywhere."""

_MOST_HASHED: Final = 10_000_000
"""How many values may be hashed, those counted again that a tuple holds again: it is hashed anew each time."""

_MOST_NUMBER: Final = 10_000
"""How many bytes a number may have: what is done with them takes time that grows with the square."""

_OPCODES: Final = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_SIZES: Final = {code: 0 if opcode.arg is None else opcode.arg.n for code, opcode in _OPCODES.items()}
_LENGTHS: Final = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4,
                   pickletools.TAKEN_FROM_ARGUMENT4U: 4, pickletools.TAKEN_FROM_ARGUMENT8U: 8}


def _codes(*names: str) -> frozenset[int]:
    return frozenset(code for code, opcode in _OPCODES.items() if opcode.name in names)


_TWO_LINES: Final = _codes("GLOBAL", "INST")
_NUMBERS: Final = _codes("INT", "LONG", "LONG4")
_NESTING: Final = _codes("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET", "REDUCE", "NEWOBJ", "NEWOBJ_EX")
_SHARING: Final = _codes("GET", "BINGET", "LONG_BINGET", "DUP")
_STOP: Final = ord(".")
_PLACES: Final[dict[int, Callable[[bytes], int]]] = {
    ord("p"): int, ord("r"): lambda argument: int.from_bytes(argument, "little")}
"""How to read the place in the memo that an opcode names, where that may be far off."""


class Refused(ValueError):
    """A pickle that is not to be loaded."""


def check(data: bytes, pickles: int = 1) -> int:
    """Return where so many pickles in `data` end, which share a memo.

    Raises `Refused` if they are not to be loaded, and ValueError or IndexError if they are none.
    """
    end = nesting = shared = 0
    for _ in range(pickles):
        end, nests, shares = _pass(data, end)
        nesting, shared = nesting + nests, shared + shares
    if nesting > _HARMLESS or not _is_soon_hashed(nesting, shared, end):
        _check_depth(data, pickles)
    return end


def _is_soon_hashed(nesting: int, shared: int, size: int) -> bool:
    """Tell whether that many values cannot take long to hash, however those that are shared lie in one another."""
    return not nesting or nesting * math.log1p(shared / nesting) + math.log(size) < math.log(_MOST_HASHED)


def _pass(data: bytes, at: int) -> tuple[int, int, int]:
    """Return where a pickle ends, how many values in it are made of others and can be hashed, and how many shared."""
    nesting, shared, code = 0, 0, -1
    while code != _STOP:
        code = data[at]
        begin = at = at + 1
        size = _SIZES.get(code)
        if size is None:
            raise ValueError("no pickle")
        if size >= 0:
            at += size
        elif size == pickletools.UP_TO_NEWLINE:
            at = data.index(b"\n", at) + 1
            at = data.index(b"\n", at) + 1 if code in _TWO_LINES else at
        else:
            at += _LENGTHS[size] + int.from_bytes(data[at:at + _LENGTHS[size]], "little")
        if code in _NESTING:
            nesting += 1
        elif code in _SHARING:
            shared += 1
        elif code in _NUMBERS and at - begin > _MOST_NUMBER:
            raise Refused(f"it holds a number of more than {_MOST_NUMBER} bytes")
        elif code in _PLACES and _PLACES[code](data[begin:at]) > at:  # the memo would get as long as that
            raise Refused("the pickle is damaged, or made to do harm")
    return at, nesting, shared


def _check_depth(data: bytes, pickles: int) -> None:
    depths, stream, most = _Depths(), io.BytesIO(data), max(_MOST_HASHED, 10 * len(data))
    for opcode, argument in chain.from_iterable(_operations(stream) for _ in range(pickles)):
        if depths.follow(opcode, argument) > MOST_DEPTH:
            raise Refused(f"its values lie more than {MOST_DEPTH} deep in one another")
        if depths.hashed > most:
            raise Refused("its values lie in one another so often that to hash them takes too long")


def _operations(stream: io.BytesIO) -> Iterator[tuple[pickletools.OpcodeInfo, Any]]:
    """Iterate over opcodes and their arguments up to the end of the first pickle, or raise ValueError.

    As `pickletools.genops`, which cannot read the text of Python 2 that is not ASCII.
    """
    opcode = None
    while opcode is None or opcode.name != "STOP":
        opcode = _OPCODES[stream.read(1)[0]]
        if opcode.arg is None:
            yield opcode, None
        else:
            yield opcode, stream.readline() if opcode.name == "STRING" else opcode.arg.reader(stream)


_FILLING: Final = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"})
_HASHING: Final = frozenset({"SETITEM", "SETITEMS", "ADDITEMS", "FROZENSET"})
_STORING: Final = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_READING: Final = frozenset({"GET", "BINGET", "LONG_BINGET"})


class _Lies(NamedTuple):
    """How deep a value lies, and of how many it consists."""

    depth: int = 1
    values: int = 1


class _Depths:
    """How deep lies what is on the stack of an unpickler, and what in its memo."""

    def __init__(self) -> None:
        self.hashed = 0
        """How many values were hashed at most."""
        self._stack: list[_Lies | None] = []
        """None is a mark."""
        self._memo: dict[int, _Lies] = {}

    def follow(self, opcode: pickletools.OpcodeInfo, argument: Any) -> int:
        """Do what an opcode does; return how deep lies what is on top then."""
        name, stack = opcode.name, self._stack
        if name in _READING:
            stack.append(self._memo.get(int(argument), _Lies()))
        elif name in _STORING or name == "MEMOIZE":
            self._memo[len(self._memo) if name == "MEMOIZE" else int(argument)] = self._top()
        elif name == "DUP":
            stack.append(self._top())
        elif name == "MARK":
            stack.append(None)
        else:
            self._apply(opcode)
        return self._top().depth

    def _apply(self, opcode: pickletools.OpcodeInfo) -> None:
        taken = list(self._taken(opcode))
        container = taken.pop() if opcode.name in _FILLING and taken else _Lies()
        count = sum(each.values for each in taken)
        if opcode.name in _HASHING:
            self.hashed += count
        if opcode.name in _FILLING or opcode.stack_after:
            depth = max([container.depth, *(each.depth + 1 for each in taken)])
            self._stack.append(_Lies(depth, container.values + count))

    def _taken(self, opcode: pickletools.OpcodeInfo) -> Iterator[_Lies]:
        """Take from the stack what an opcode takes, the top first."""
        before = opcode.stack_before
        if pickletools.markobject in before:
            while self._stack and (lies := self._stack.pop()) is not None:
                yield lies
            before = before[:before.index(pickletools.markobject)]
        for _ in before:
            if self._stack:
                yield self._stack.pop() or _Lies()

    def _top(self) -> _Lies:
        return (self._stack[-1] if self._stack else None) or _Lies()
