"""Three-way merge of session state.

Two requests load the same state (`base`); one saves first (`theirs`), the other (`mine`) finds on saving that the
store has moved on.  Only what *I* changed is applied onto *theirs*.  Dicts are merged key by key, at every depth; for
anything else the later write of that one value wins, unless a rule is declared for its name on the session class::

    class ShopSession(DictSession):
        merge_rules = {"visits": merge.add, "basket": merge.union}
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .equality import same

Rule = Callable[[Any, Any, Any], Any]
"""``rule(base, mine, theirs)`` returns the merged value; a value that is not there is `MISSING`."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

_NOTHING: Final[dict[Any, Any]] = {}

_BY_IDENTITY: Final[tuple[object, ...]] = (None, object.__hash__)
"""How objects hash that can be changed; what hashes by its value is that value, whatever its other names become."""


def merge(base: dict[Any, Any], mine: dict[Any, Any], theirs: dict[Any, Any],
          rules: Mapping[Any, Any] | None = None) -> dict[Any, Any]:
    """Return `theirs` with the changes from `base` to `mine` applied.

    `rules` maps a name to a `Rule`, or to a mapping of rules for the dict of that name.
    """
    return _Merge().dicts(base, mine, theirs, rules or _NOTHING)


class _Merge:
    """One merge of dicts that may contain themselves, and have one object in several places."""

    def __init__(self) -> None:
        self._begun: dict[tuple[int, int, int], dict[Any, Any]] = {}
        self._became: dict[int, Any] = {}
        """What an object of mine is in the result, by its id."""

    def dicts(self, base: dict[Any, Any], mine: dict[Any, Any], theirs: dict[Any, Any],
              rules: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return the merged dict, finished or not: one of the same three dicts may be under way."""
        place = id(base), id(mine), id(theirs)
        if place in self._begun:
            return self._begun[place]
        result = self._begun[place] = self._became[id(mine)] = copy.copy(theirs)
        # What is new comes last, for it may be another name of what was there.
        for name in [*base, *(name for name in mine if name not in base)]:
            three = base.get(name, MISSING), mine.get(name, MISSING), theirs.get(name, MISSING)
            value = self._value(*three, rules.get(name))
            if value is MISSING:
                result.pop(name, None)
            else:
                result[name] = value
        _reorder(result, base, mine)
        if hasattr(result, "__dict__"):  # a subclass keeps attributes beside the items
            result.__dict__ = self.dicts(getattr(base, "__dict__", _NOTHING), vars(mine), vars(theirs), _NOTHING)
        return result

    def _value(self, base: Any, mine: Any, theirs: Any, rule: Any) -> Any:
        if base is MISSING and id(mine) in self._became and type(mine).__hash__ in _BY_IDENTITY:
            return self._became[id(mine)]
        value = self._merged(base, mine, theirs, rule)
        if mine is not MISSING and value is not MISSING:
            self._became[id(mine)] = value
        return value

    def _merged(self, base: Any, mine: Any, theirs: Any, rule: Any) -> Any:
        if same(base, mine):
            return theirs
        if same(base, theirs):
            return mine
        if mine is theirs is MISSING:
            return MISSING
        if callable(rule):
            return rule(base, mine, theirs)
        kind = type(theirs if mine is MISSING else mine)
        if not issubclass(kind, dict) or not {type(mine), type(theirs)} <= {kind, _Missing}:
            return mine
        return self._some_gone(base, mine, theirs, kind, rule or _NOTHING)

    def _some_gone(self, base: Any, mine: Any, theirs: Any, kind: type, rules: Mapping[Any, Any]) -> Any:
        """Merge dicts of which one side may be gone: that is as if all that was in it were."""
        gone = mine is MISSING or theirs is MISSING
        left = self.dicts(base if isinstance(base, dict) else _NOTHING, _emptied(theirs) if mine is MISSING else mine,
                          _emptied(mine) if theirs is MISSING else theirs, rules)
        return MISSING if gone and not left else left


def _emptied(items: dict[Any, Any]) -> dict[Any, Any]:
    """Return one like this with nothing in it: its class may demand arguments, as ``defaultdict`` does."""
    empty = copy.copy(items)
    empty.clear()
    return empty


def _reorder(result: dict[Any, Any], base: dict[Any, Any], mine: dict[Any, Any]) -> None:
    """Bring what was in `base` into my order, if I changed it."""
    common = [name for name in mine if name in base]
    if common == [name for name in base if name in mine]:
        return
    order = [*(name for name in mine if name in result), *(name for name in result if name not in mine)]
    items = [(name, result[name]) for name in order]
    result.clear()
    result.update(items)


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
    was, is_mine = _Values(base), _Values(mine)
    kept = [value for value in theirs if value in is_mine or value not in was]
    known = _Values(kept)
    return kind([*kept, *(value for value in mine if value not in was and value not in known)])


class _Values:
    """Tells which values there are, True apart from 1, in a time that does not grow with their number.

    A visitor decides how many there are, and others wait for who merges them.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self._all = list(values)
        self._hashed: set[tuple[type, Any]] = set()
        self._others: list[Any] = []
        for value in self._all:
            try:
                self._hashed.add((type(value), _frozen(value)))
            except (TypeError, RecursionError):
                self._others.append(value)

    def __contains__(self, value: Any) -> bool:
        try:
            if (type(value), _frozen(value)) in self._hashed:
                return True
            among = self._others
        except (TypeError, RecursionError):
            among = self._all
        return any(type(other) is type(value) and other == value for other in among)


def _frozen(value: Any) -> Any:
    """Return what hashes in the place of a list or dict, equal for equal ones."""
    kind = type(value)
    if kind is list or kind is tuple:
        return (kind, *map(_frozen, value))
    if kind is dict:
        return dict, frozenset((name, _frozen(item)) for name, item in value.items())
    return frozenset(value) if kind is set else value
