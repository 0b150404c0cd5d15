"""Three-way merge of session state.

Two requests load the same state (`base`); one saves first (`theirs`), the other (`mine`) finds on saving that the
store has moved on.  Only what *I* changed is applied onto *theirs*.  Dicts are merged key by key, at every depth; for
anything else the later write of that one value wins, unless a rule is declared for its name on the session class::

    class ShopSession(DictSession):
        merge_rules = {"visits": merge.add, "basket": merge.union}
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any, Final

Rule = Callable[[Any, Any, Any], Any]
"""``rule(base, mine, theirs)`` returns the merged value; a value that is not there is `MISSING`."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

_NOTHING: Final[dict[Any, Any]] = {}

_PLAIN: Final = frozenset({str, int, bool, bytes, type(None), _Missing})


def merge(base: dict[Any, Any], mine: dict[Any, Any], theirs: dict[Any, Any],
          rules: Mapping[Any, Any] | None = None) -> dict[Any, Any]:
    """Return `theirs` with the changes from `base` to `mine` applied.

    `rules` maps a name to a `Rule`, or to a mapping of rules for the dict of that name.
    """
    return _merge_dicts(base, mine, theirs, rules or _NOTHING, {})


def _merge_dicts(base: dict[Any, Any], mine: dict[Any, Any], theirs: dict[Any, Any], rules: Mapping[Any, Any],
                 begun: dict[tuple[int, int, int], dict[Any, Any]]) -> dict[Any, Any]:
    """Merge dicts that may contain themselves: `begun` has the result for each three of them, finished or not."""
    place = id(base), id(mine), id(theirs)
    if place in begun:
        return begun[place]
    result = begun[place] = copy.copy(theirs)
    for name in [*mine, *(name for name in base if name not in mine)]:
        value = _merge_value(base.get(name, MISSING), mine.get(name, MISSING), theirs.get(name, MISSING),
                             rules.get(name), begun)
        if value is MISSING:
            result.pop(name, None)
        else:
            result[name] = value
    if hasattr(result, "__dict__"):  # a subclass keeps attributes beside the items
        result.__dict__ = _merge_dicts(getattr(base, "__dict__", _NOTHING), vars(mine), vars(theirs), _NOTHING, begun)
    return result


def _merge_value(base: Any, mine: Any, theirs: Any, rule: Any, begun: dict[Any, Any]) -> Any:
    if same(base, mine):
        return theirs
    if same(base, theirs):
        return mine
    if mine is theirs is MISSING:
        return MISSING
    if callable(rule):
        return rule(base, mine, theirs)
    if isinstance(mine, dict) and type(mine) is type(theirs):
        return _merge_dicts(base if isinstance(base, dict) else _NOTHING, mine, theirs, rule or _NOTHING, begun)
    return mine


def same(a: Any, b: Any) -> bool:
    """Tell whether two values would be stored alike.

    Equality alone will not do: ``1 == True == 1.0``, NaN equals nothing, and a class may define it loosely.
    """
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if type(a) in _PLAIN:
        return bool(a == b)
    try:
        return pickle.dumps(a, 5) == pickle.dumps(b, 5)
    except Exception:  # whatever a foreign __reduce__ raises; the serializer of the store reports it properly
        return False


def later(base: Any, mine: Any, theirs: Any) -> Any:
    """Let the later write win: the default for everything that is not a dict."""
    return mine


def first(base: Any, mine: Any, theirs: Any) -> Any:
    """Let the earlier write win; for a value made once, such as a token."""
    return mine if theirs is MISSING else theirs


def add(base: Any, mine: Any, theirs: Any) -> Any:
    """Add both differences; for counters.  A counter that is not there counts as zero."""
    base, mine, theirs = (0 if value is MISSING else value for value in (base, mine, theirs))
    return theirs + (mine - base)


def union(base: Any, mine: Any, theirs: Any) -> Any:
    """Apply the insertions and removals of both sides to a list or set without duplicates."""
    kind = next(type(value) for value in (mine, theirs) if value is not MISSING)
    base, mine, theirs = (() if value is MISSING else value for value in (base, mine, theirs))
    kept = [value for value in theirs if value in mine or value not in base]
    return kind([*kept, *(value for value in mine if value not in base and value not in kept)])
