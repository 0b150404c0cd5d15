"""`Unpickler`: what others pickled, read without running anything of it.

Plain values and some harmless types of the standard library are made as they were.  An object of any other class
becomes a `Standin`, which holds its state and has no behaviour: so the attributes of a session are read although its
class is no more.  Nothing else is ever called or imported, but for the classes that whoever runs this has allowed.
"""

from __future__ import annotations

import datetime
import decimal
import io
import ipaddress
import pickle
import re
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, ClassVar, Final, cast

from ..errors import SessionError
from .opcodes import MOST_DEPTH, Refused, check

MOST_BYTES: Final = 16 * 1024 * 1024
"""How large a pickle of one session may be."""

_MOST_VALUES: Final = 1_000_000
"""How many values a session may have, those counted again that are met again."""

_NAME: Final = re.compile(r"[A-Za-z_][\w.]{0,199}", re.ASCII)

_ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""Bytes that were not UTF-8, as Python decodes them."""

_DAMAGE: Final = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError,
                  MemoryError, RecursionError, TypeError, ValueError)


class Unreadable(SessionError):
    """A session of another system that cannot be read here.  The text says why, and holds nothing of the session."""


class Standin:
    """In place of an object of a class that is not known here."""

    name: ClassVar[str]
    """Of the class, with its module."""

    state: Any = None

    def __new__(cls, *arguments: Any) -> Standin:
        if arguments:
            raise _wanted(cls.name)
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Made:
    """In place of a callable: does what that would, for arguments that do no harm.  Nothing can be set on it."""

    __slots__ = ("_make",)
    _make: Callable[..., Any]

    def __init__(self, make: Callable[..., Any]) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


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
        self._known = {**_KNOWN, **(known or {})}

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
            raise _wanted(unknown[0]) if unknown else Unreadable("it is damaged, or no pickle") from None

    def plain(self, value: Any) -> Any:
        """Return a value in which every `Standin` was replaced by what it stands for; `Unreadable` if that is unknown.

        The text of Python 2 that could not be decoded is bytes.
        """
        try:
            return _Cleaner(self._encoding).clean(value)
        except RecursionError:
            raise Unreadable("its values lie too deep in one another") from None

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
        return self._known.get(_NAMES_OF_PYTHON_2.get(name, name))


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, find: Callable[[str], Any], reference: Callable[[Any], Any] | None) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
        self._find, self._reference = find, reference
        self.unknown: list[str] = []

    def persistent_load(self, name: Any) -> Any:
        if self._reference is None:
            raise pickle.UnpicklingError
        return self._reference(name)

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        found = self._find(full)
        if found is None:
            found = type(name, (Standin,), {"name": _shown(full), "__module__": module})
            self.unknown.append(_shown(full))
        return found


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
            raise _wanted(str(getattr(value, "name", getattr(value, "__name__", "a function"))))
        return value

    def _clean_dict(self, value: Any, depth: int) -> None:
        if isinstance(value, defaultdict) and value.default_factory not in _FACTORIES:
            raise _wanted("the class of a defaultdict")
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
    if isinstance(standin, _UUID) and isinstance(standin.state, dict) and isinstance(standin.state.get("int"), int):
        return uuid.UUID(int=standin.state["int"])
    raise _wanted(standin.name)


def _are_states(*states: Any) -> bool:
    return all(state is None or isinstance(state, dict) for state in states)


def _wanted(name: str) -> Unreadable:
    return Unreadable(f"it needs {name}, which is not known here; if it is a class of your application, and can be "
                      f"imported, allow it: --allow {name}")


def _shown(name: str) -> str:
    return name if _NAME.fullmatch(name) else "something with a strange name"


def _imported(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # whatever the module of somebody else raises
        raise Unreadable(f"{name} is allowed and cannot be imported: {type(error).__name__}") from error
    if not isinstance(found, type):
        raise Unreadable(f"{name} is allowed and no class")
    return found


# -- what is known ----------------------------------------------------------------------------------------------------


class _UUID(Standin):
    name = "uuid.UUID"


def _bytes(value: Any = b"", encoding: str = "") -> bytes:
    """As `bytes` and `_codecs.encode` are called in pickles; of a number it would make as many."""
    if isinstance(value, str) and encoding in ("latin1", "latin-1"):
        return value.encode("latin-1")
    if isinstance(value, (bytes, bytearray, list, tuple)):
        return bytes(value)
    raise TypeError("no bytes")


def _made_again(cls: Any, base: Any, state: Any) -> Any:
    """As `copyreg._reconstructor`, for an object that is nothing else than that."""
    if base is not object or state is not None:
        raise _wanted(getattr(cls, "name", "something"))
    return cls.__new__(cls)


def _of_bytes(cls: type) -> Made:
    """Return what makes a date or time of the bytes that Python 2 called text."""
    def make(state: Any, *more: Any) -> Any:
        if isinstance(state, str):
            state = state.encode("utf-8", "surrogateescape")
        return cls(state, *more)

    return Made(make)


_KNOWN: Final[dict[str, Any]] = {
    "builtins.object": object, "builtins.set": set, "builtins.frozenset": frozenset, "builtins.complex": complex,
    "builtins.list": list, "builtins.dict": dict, "builtins.tuple": tuple,
    "builtins.int": int, "builtins.float": float, "builtins.bool": bool, "builtins.str": str,
    "builtins.bytes": Made(_bytes), "builtins.bytearray": Made(lambda *given: bytearray(_bytes(*given))),
    "_codecs.encode": Made(_bytes), "copyreg._reconstructor": Made(_made_again),
    "collections.OrderedDict": OrderedDict, "collections.defaultdict": defaultdict, "collections.deque": deque,
    "collections.Counter": Made(lambda counts=(): Counter(dict(counts))),
    "datetime.datetime": _of_bytes(datetime.datetime), "datetime.date": _of_bytes(datetime.date),
    "datetime.time": _of_bytes(datetime.time),
    "datetime.timedelta": datetime.timedelta, "datetime.timezone": datetime.timezone,
    "decimal.Decimal": Made(lambda text: decimal.Decimal(str(text))), "uuid.UUID": _UUID,
    "ipaddress.IPv4Address": Made(ipaddress.IPv4Address), "ipaddress.IPv6Address": Made(ipaddress.IPv6Address),
}
"""Of these, classes are such that nothing can be set on them; all else is `Made`."""

_ATOMS: Final = frozenset({type(None), bool, int, float, bytes})

_FACTORIES: Final = (None, list, dict, set, int, float, str, bool, tuple)

_NAMES_OF_PYTHON_2: Final = {
    **{f"__builtin__.{name}": f"builtins.{name}" for name in (
        "object", "set", "frozenset", "complex", "list", "dict", "tuple", "int", "float", "bool", "bytes",
        "bytearray")},
    "__builtin__.str": "builtins.str", "__builtin__.unicode": "builtins.str", "__builtin__.long": "builtins.int",
    "copy_reg._reconstructor": "copyreg._reconstructor",
}
