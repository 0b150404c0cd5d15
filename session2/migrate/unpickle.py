"""`Unpickler`: what others pickled, read without running anything of it.

Plain values and some harmless types of the standard library are made as they were.  An object of any other class
becomes a `Standin`, which holds its state and has no behaviour: so the attributes of a session are read although its
class is no more.  Nothing else is ever called or imported, but for the classes that whoever runs this has allowed.
"""

from __future__ import annotations

import io
import pickle
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from functools import partial
from importlib import import_module
from typing import Any, Final, cast

from .known import KNOWN, NAMES_OF_PYTHON_2, Made, Standin, Unreadable, UUIDStandin, shown, wanted
from .opcodes import MOST_DEPTH, Refused, check

MOST_BYTES: Final = 16 * 1024 * 1024
"""How large a pickle of one session may be."""

_ATOMS: Final = frozenset({type(None), bool, int, float, bytes})

_MOST_VALUES: Final = 1_000_000
"""How many values a session may have, those counted again that are met again."""

_SLACK: Final = 1000
"""How much may be made of values beyond what the length of the pickle accounts for."""

_ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""Bytes that were not UTF-8, as Python decodes them."""

_DAMAGE: Final = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError,
                  MemoryError, RecursionError, TypeError, ValueError)


class Unpickler:
    """Reads pickles, those of Python 2 too.

    :param allow: classes to import and make, as ``module.Class``: whatever making one does is done.
    :param encoding: of what was a ``str`` in Python 2 and is not UTF-8; default (""): that stays bytes.
    :param known: what else to use in place of classes, by their old names: a class, or a `Made`.
    """

    def __init__(self, allow: Iterable[str] = (), encoding: str = "",
                 known: Mapping[str, Any] | None = None) -> None:
        self._allow = frozenset(allow)
        self._encoding = encoding
        self._known = {**KNOWN, **(known or {})}

    def loads(self, data: bytes) -> Any:
        """Return the value in a pickle, or raise `Unreadable`."""
        return self.plain(self.load(data))

    def attributes(self, data: bytes) -> dict[str, Any]:
        """Return the attributes of the object in a pickle, whatever its class, or raise `Unreadable`."""
        return self.attributes_of(self.load(data))

    # -- in two steps ----------------------------------------------------------------------------------------------

    def load(self, data: bytes, most: int = MOST_BYTES, reference: Callable[[Any], Any] | None = None,
             pickles: int = 1) -> Any:
        """Return the value in a pickle, in which a `Standin` may be found anywhere, or raise `Unreadable`.

        :param reference: what to make of the name of an object that is not in the pickle; by default there is none.
        :param pickles: how many there are that share a memo; the last one counts.
        """
        if len(data) > most:
            raise Unreadable(f"it is larger than {most} bytes")
        reader = _Reader(data, self.find, reference)
        try:
            check(data, pickles)
            return [reader.load() for _ in range(pickles)][-1]
        except Refused as error:
            raise Unreadable(str(error)) from None
        except _DAMAGE:
            unknown = reader.unknown
            raise wanted(unknown[0]) if unknown else Unreadable("it is damaged, or no pickle") from None

    def plain(self, value: Any) -> Any:
        """Return a value in which every `Standin` was replaced by what it stands for; `Unreadable` if that is unknown.

        The text of Python 2 that could not be decoded is bytes.
        """
        try:
            return _Cleaner(self._encoding).clean(value)
        except RecursionError:
            raise Unreadable("its values lie too deep in one another") from None
        except _DAMAGE:
            raise Unreadable("it is damaged, or no pickle") from None

    def attributes_of(self, value: Any) -> dict[str, Any]:
        """Return the attributes of an object that `load` returned, or raise `Unreadable`."""
        state = value.state if isinstance(value, Standin) else getattr(value, "__dict__", None)
        if isinstance(state, tuple) and len(state) == 2:  # of a class with slots
            state = {**(state[0] or {}), **(state[1] or {})} if _are_states(*state) else None
        if not isinstance(state, dict) or isinstance(value, dict):
            raise Unreadable(f"it holds no object with attributes but a {type(value).__name__}")
        return cast("dict[str, Any]", self.plain(state))

    def find(self, name: str) -> Any:
        """Return what to use in place of a class, or a function, of this full name; None if it is not known."""
        if name in self._allow:
            return _imported(name)
        return self._known.get(NAMES_OF_PYTHON_2.get(name, name))


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, find: Callable[[str], Any], reference: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
        self._find, self._reference, self._left = find, reference, _SLACK + 10 * len(data)
        self.unknown: list[str] = []

    def persistent_load(self, name: Any) -> Any:
        if self._reference is None:
            raise pickle.UnpicklingError
        return self._reference(name)

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        found = self._find(full)
        if found is None:
            found = type(name, (Standin,), {"name": shown(full), "__module__": module})
            self.unknown.append(shown(full))
        return Made(partial(self._made, found), found.stands_for) if isinstance(found, Made) else found

    def _made(self, made: Made, *arguments: Any) -> Any:
        """Make something of arguments, as long as these are not much more than the pickle, all taken together."""
        for size in _sizes(arguments):
            self._left -= size
            if self._left < 0:
                raise Unreadable("what it would make of its values is far more than they are")
        return made(*arguments)


def _sizes(arguments: Iterable[Any]) -> Iterator[int]:
    """Yield how much must be copied of arguments, and then how much must be hashed, piece by piece."""
    yield from (len(each) for each in arguments if isinstance(each, Sized))
    open = [iter(each) for each in arguments if isinstance(each, (list, dict, set, frozenset, tuple, deque))]
    while open:
        each = next(open[-1], open)
        if each is open:
            open.pop()
        elif isinstance(each, (tuple, frozenset)):
            yield len(each)
            open.append(iter(each))


class _Cleaner:
    """Goes through a value, once: how deep and how often is bounded."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._left = _MOST_VALUES
        self._sizes: dict[int, int] = {}
        """Of the containers met already, by their identity: they may be in themselves."""

    def clean(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MOST_DEPTH:
            raise Unreadable(f"its values are more than {_MOST_VALUES}, or lie more than {MOST_DEPTH} deep")
        kind = type(value)
        if kind in _ATOMS:
            return value
        if kind is str:
            return value if value.isascii() else _decoded(value, self._encoding)
        if kind in (dict, OrderedDict, defaultdict, Counter):
            return self._once(self._clean_dict, value, depth)
        if kind in (list, deque):
            return self._once(self._clean_list, value, depth)
        if kind in (tuple, set, frozenset):
            return kind(self.clean(item, depth + 1) for item in value)
        if isinstance(value, Standin):
            return _meant(value)
        if isinstance(value, (type, Made)):
            raise wanted(str(getattr(value, "name", getattr(value, "__name__", "a function"))))
        return value

    def _clean_dict(self, value: Any, depth: int) -> None:
        if getattr(value, "__dict__", None):  # it may hide the methods that are called here
            raise Unreadable("it is damaged, or no pickle")
        if isinstance(value, defaultdict) and value.default_factory is not None:
            value.default_factory = _factory(value.default_factory)
        cleaned = [(self.clean(name, depth + 1), self.clean(item, depth + 1)) for name, item in value.items()]
        value.clear()
        for name, item in cleaned:
            value[name] = item

    def _clean_list(self, value: Any, depth: int) -> None:
        for index, item in enumerate(value):
            value[index] = self.clean(item, depth + 1)

    def _once(self, clean: Callable[[Any, int], None], value: Any, depth: int) -> Any:
        """Clean a container where it is met first; later it counts for as many values as it has."""
        if id(value) in self._sizes:
            self._left -= self._sizes[id(value)]
        else:
            self._sizes[id(value)], before = 1, self._left
            clean(value, depth)
            self._sizes[id(value)] = before - self._left
        return value


def _factory(found: Any) -> type:
    """Return the class that a defaultdict makes its values with."""
    if not isinstance(found, Made) or found.stands_for is None:
        raise wanted("the class of a defaultdict")
    return found.stands_for


def _decoded(text: str, encoding: str) -> str | bytes:
    """Return a text, or the bytes it was if they were not UTF-8, as text if an encoding is named."""
    if not _ESCAPED.search(text):
        return text
    try:
        raw = text.encode("utf-8", "surrogateescape")
        return raw.decode(encoding) if encoding else raw
    except UnicodeError:
        raise Unreadable("it holds text that is not of its encoding") from None


def _meant(standin: Standin) -> Any:
    """Return the value that a `Standin` stands for; `Unreadable` if that is not known."""
    number = standin.state.get("int") if isinstance(standin.state, dict) else None
    if isinstance(standin, UUIDStandin) and isinstance(number, int):
        return uuid.UUID(int=number)
    raise wanted(standin.name)


def _are_states(*states: Any) -> bool:
    return all(state is None or isinstance(state, dict) for state in states)


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the module of somebody else raises
        raise Unreadable(f"{name} is allowed and cannot be imported: {type(error).__name__}") from error
    if not isinstance(found, type):
        raise Unreadable(f"{name} is allowed and no class")
    return found
