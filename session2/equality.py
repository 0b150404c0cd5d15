"""`same`: whether two values would be stored alike, told from what they hold and not from their bytes.

Equality alone will not do: ``1 == True == 1.0``, NaN equals nothing, and a class may define it loosely or not at all.
Bytes alone will not do either: a set of objects that hash by identity is pickled in another order each time.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

_PLAIN: Final = frozenset({str, int, bool, bytes, type(None), type})

_OF_SETS: Final[tuple[object, ...]] = (set.__reduce__, frozenset.__reduce__)


def same(a: Any, b: Any) -> bool:
    """Tell whether two values hold the same, in the same order and with the same objects shared in the same places."""
    if type(a) is type(b) is dict and differ_plainly(a, b):  # as nearly always when something was changed
        return False
    return _same(a, b, {}, {})


def differ_plainly(a: dict[Any, Any], b: dict[Any, Any], depth: int = 2) -> bool:
    """Tell, without much ado, of dicts that cannot be the same: they lack a key, or a value that never changes.

    :param depth: how many dicts within one another are looked into; of a deeper value it is the type that counts.
    """
    if a.keys() != b.keys():
        return True
    for one, other in zip(a.values(), b.values(), strict=True):
        kind = type(one)
        if kind is not type(other) or (kind in _PLAIN and one != other) or (kind is float and repr(one) != repr(other)):
            return True
        if kind is dict and depth > 1 and differ_plainly(one, other, depth - 1):
            return True
    return False


def _same(a: Any, b: Any, there: dict[int, Any], back: dict[int, Any]) -> bool:
    """Compare; `there` and `back` have the counterpart of each object that was met, by its id."""
    if type(a) is not type(b):
        return False
    if type(a) in _PLAIN:
        return bool(a == b)
    if type(a) is float:
        return repr(a) == repr(b)
    if type(a) is not tuple and type(a) is not frozenset:  # to share what cannot change makes no difference
        if id(a) in there or id(b) in back:
            return there.get(id(a)) is b and back.get(id(b)) is a
        there[id(a)], back[id(b)] = b, a
    return _COMPARE.get(type(a), _same_objects)(a, b, there, back)


def _same_items(a: Any, b: Any, there: dict[int, Any], back: dict[int, Any]) -> bool:
    if len(a) != len(b):
        return False
    for one, other in zip(a, b, strict=True):
        kind = type(one)
        if kind is not type(other):
            return False
        if one != other if kind in _PLAIN else not _same(one, other, there, back):
            return False
    return True


def _same_dicts(a: Any, b: Any, there: dict[int, Any], back: dict[int, Any]) -> bool:
    return _same_items(a.keys(), b.keys(), there, back) and _same_items(a.values(), b.values(), there, back)


def _same_sets(a: Any, b: Any, there: dict[int, Any], back: dict[int, Any]) -> bool:
    """Compare in whatever order: find for each member one that is the same and not taken yet."""
    if len(a) != len(b):
        return False
    left = {(type(value), value) for value in b} if all(type(value) in _PLAIN for value in b) else None
    if left is not None:
        return left == {(type(value), value) for value in a}
    rest = sorted(b, key=_looks)
    for value in sorted(a, key=_looks):
        found = next((at for at, other in enumerate(rest) if _tried(value, other, there, back)), None)
        if found is None:
            return False
        del rest[found]
    return True


def _looks(value: Any) -> int:
    """Return a number by which to sort, so that most find their counterparts at once; which one makes no difference."""
    if type(value) in _PLAIN:
        return hash(value)
    parts = value if type(value) is tuple else getattr(value, "__dict__", {}).items()
    return hash((type(value), *(part for part in _flat(parts) if type(part) in _PLAIN)))


def _flat(parts: Iterable[Any]) -> Iterator[Any]:
    for part in parts:
        yield from part if type(part) is tuple else (part,)


def _tried(a: Any, b: Any, there: dict[int, Any], back: dict[int, Any]) -> bool:
    """Compare, and remember the counterparts only if they are the same."""
    there_then, back_then = dict(there), dict(back)
    if not _same(a, b, there_then, back_then):
        return False
    there.update(there_then)
    back.update(back_then)
    return True


def _same_objects(a: Any, b: Any, there: dict[int, Any], back: dict[int, Any]) -> bool:
    """Compare what pickle would keep."""
    if a is b:
        return True
    try:
        if pickle.dumps(a, 5) == pickle.dumps(b, 5):
            return True
        one, other = a.__reduce_ex__(5), b.__reduce_ex__(5)
    except RecursionError:  # too deep to tell
        raise
    except Exception:  # whatever a foreign __reduce__ raises; the serializer of the store reports it properly
        return False
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    if type(a).__reduce__ in _OF_SETS and one[0] is type(a):  # a subclass, with something beside what is in it
        return _same_sets(a, b, there, back) and _same(one[2:], other[2:], there, back)
    return len(one) == len(other) and one[0] == other[0] and all(
        _same(_listed(left), _listed(right), there, back) for left, right in zip(one[1:], other[1:], strict=True))


def _listed(part: Any) -> Any:
    """Return a part of what __reduce_ex__ returns, with the items that come from an iterator in a tuple."""
    return tuple(part) if hasattr(part, "__next__") else part


_COMPARE: Final[dict[type, Callable[[Any, Any, dict[int, Any], dict[int, Any]], bool]]] = {
    dict: _same_dicts, list: _same_items, tuple: _same_items, set: _same_sets, frozenset: _same_sets}
