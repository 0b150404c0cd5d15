"""What a pickle may name: classes and functions that are known to do no harm, and what stands in for all others."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import re
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, ClassVar, Final

from ..errors import SessionError

_NAME: Final = re.compile(r"[A-Za-z_][\w.]{0,199}", re.ASCII)


class Unreadable(SessionError):
    """A session of another system that cannot be read here.  The text says why, and holds nothing of the session."""


class Standin:
    """In place of an object of a class that is not known here."""

    name: ClassVar[str]
    """Of the class, with its module."""

    state: Any = None

    def __new__(cls, *arguments: Any) -> Standin:
        if arguments:
            raise wanted(cls.name)
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Made:
    """In place of a callable: does what that would, for arguments that do no harm.  Nothing can be set on it.

    :param stands_for: the class that it is in a defaultdict.
    """

    __slots__ = ("make", "stands_for")
    make: Callable[..., Any]
    stands_for: type | None

    def __init__(self, make: Callable[..., Any], stands_for: type | None = None) -> None:
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "stands_for", stands_for)

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


def wanted(name: str) -> Unreadable:
    """Return the error for a class that is not known."""
    return Unreadable(f"it needs {name}, which is not known here; if it is a class of your application, and can be "
                      f"imported, allow it: --allow {name}")


def shown(name: str) -> str:
    """Return the name of a class as it may be shown."""
    return name if _NAME.fullmatch(name) else "something with a strange name"


# -- what is known ----------------------------------------------------------------------------------------------------


class UUIDStandin(Standin):
    """In place of a UUID, until its state is there."""

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
        raise wanted(getattr(cls, "name", "something"))
    return cls.__new__(cls)


def _of_bytes(cls: type) -> Made:
    """Return what makes a date or time of the bytes that Python 2 called text."""
    def make(state: Any, *more: Any) -> Any:
        if isinstance(state, str):
            state = state.encode("utf-8", "surrogateescape")
        return cls(state, *more)

    return Made(make)


def _of(cls: Any, *kinds: type) -> Made:
    """Return what makes an object of one argument of these kinds: of another one it might make a text first."""
    def make(argument: Any) -> Any:
        if type(argument) not in kinds:
            raise TypeError
        return cls(argument)

    return Made(make)


def _empty(cls: type) -> Made:
    """Return what makes an empty value: as a factory, no pickle calls these with arguments."""
    return Made(lambda: cls(), cls)


KNOWN: Final[dict[str, Any]] = {
    **{f"builtins.{cls.__name__}": _empty(cls) for cls in (list, dict, tuple, int, float, bool, str)},
    "builtins.object": object, "builtins.complex": Made(complex),
    "builtins.set": Made(set, set), "builtins.frozenset": Made(frozenset),
    "builtins.bytes": Made(_bytes), "builtins.bytearray": Made(lambda *given: bytearray(_bytes(*given))),
    "_codecs.encode": Made(_bytes), "copyreg._reconstructor": Made(_made_again),
    "collections.OrderedDict": Made(OrderedDict), "collections.defaultdict": Made(defaultdict),
    "collections.deque": Made(deque), "collections.Counter": Made(lambda counts=(): Counter(dict(counts))),
    "datetime.datetime": _of_bytes(datetime.datetime), "datetime.date": _of_bytes(datetime.date),
    "datetime.time": _of_bytes(datetime.time),
    "datetime.timedelta": Made(datetime.timedelta), "datetime.timezone": Made(datetime.timezone),
    "decimal.Decimal": _of(decimal.Decimal, str), "uuid.UUID": UUIDStandin,
    "ipaddress.IPv4Address": _of(ipaddress.IPv4Address, str, int),
    "ipaddress.IPv6Address": _of(ipaddress.IPv6Address, str, int),
}
"""But for `object`, on which nothing can be set, all is `Made`, or a `Standin`."""


NAMES_OF_PYTHON_2: Final = {
    **{f"__builtin__.{name}": f"builtins.{name}" for name in (
        "object", "set", "frozenset", "complex", "list", "dict", "tuple", "int", "float", "bool", "bytes",
        "bytearray")},
    "__builtin__.str": "builtins.str", "__builtin__.unicode": "builtins.str", "__builtin__.long": "builtins.int",
    "copy_reg._reconstructor": "copyreg._reconstructor",
}
