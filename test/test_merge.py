"""Three-way merge: only my changes are applied onto theirs."""

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session2 import merge

VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                      lambda inner: (st.lists(inner, max_size=3)
                                     | st.dictionaries(st.text(max_size=2), inner, max_size=3)),
                      max_leaves=8)
STATES = st.dictionaries(st.sampled_from("abcdef"), VALUES, max_size=5)


@given(STATES, STATES)
def test_who_changed_nothing_takes_over_theirs(base: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert merge.same(merge.merge(base, base, theirs), theirs)


@given(STATES, STATES)
def test_if_they_changed_nothing_mine_stands(base: dict[str, Any], mine: dict[str, Any]) -> None:
    merged = merge.merge(base, mine, base)
    assert merged.keys() == mine.keys()
    assert all(merge.same(merged[name], mine[name]) for name in mine)


@given(STATES, st.dictionaries(st.sampled_from("uvw"), VALUES), st.dictionaries(st.sampled_from("xyz"), VALUES))
def test_different_keys_are_all_kept(base: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    merged = merge.merge(base, {**base, **mine}, {**base, **theirs})
    assert all(merge.same(merged[name], value) for name, value in {**base, **mine, **theirs}.items())


def test_dicts_are_merged_at_every_depth() -> None:
    base = {"a": {"b": {"c": 1, "d": 1}}}
    assert merge.merge(base, {"a": {"b": {"c": 2, "d": 1}}}, {"a": {"b": {"c": 1, "d": 2}}}) == {
        "a": {"b": {"c": 2, "d": 2}}}


@pytest.mark.parametrize("kind", [OrderedDict, lambda items: defaultdict(list, items)])
def test_kinds_of_dict_are_merged_and_kept(kind: Any) -> None:
    merged = merge.merge({"a": kind({})}, {"a": kind({"x": 1})}, {"a": kind({"y": 2})})["a"]
    assert merged == {"x": 1, "y": 2}
    assert type(merged) is type(kind({}))


class Basket(dict[str, int]):
    def __init__(self, items: dict[str, int], **attributes: str) -> None:
        super().__init__(items)
        self.__dict__ = attributes


def test_attributes_of_a_dict_are_merged_as_its_items_are() -> None:
    base = Basket({"pen": 1}, coupon="no", note="no")
    mine = Basket({"pen": 1}, coupon="no", note="no", gift="mine")
    theirs = Basket({"pen": 2}, note="theirs")
    merged = merge.merge({"b": base}, {"b": mine}, {"b": theirs})["b"]
    assert type(merged) is Basket
    assert merged == {"pen": 2}
    assert vars(merged) == {"note": "theirs", "gift": "mine"}
    assert vars(theirs) == {"note": "theirs"}


def test_dicts_that_contain_themselves_are_merged() -> None:
    def tree(**leaves: int) -> dict[str, Any]:
        root: dict[str, Any] = {"branch": dict(leaves)}
        root["branch"]["root"] = root
        return root

    merged = merge.merge(tree(a=1, b=1), tree(a=2, b=1), tree(a=1, b=2))
    assert (merged["branch"]["a"], merged["branch"]["b"]) == (2, 2)
    assert merged["branch"]["root"] is merged


class Owned(dict[str, int]):
    """A dict that cannot be made without being told whose it is."""

    def __init__(self, owner: str) -> None:
        self.owner = owner


@pytest.mark.parametrize("make", [lambda: defaultdict(int), lambda: Owned("joe")], ids=["defaultdict", "arguments"])
@pytest.mark.parametrize("mine_is_gone", [True, False])
def test_what_is_added_to_a_dict_that_the_others_deleted_stays_of_its_kind(
        make: Callable[[], Any], mine_is_gone: bool) -> None:
    base, changed = make(), make()
    base.update(a=1)
    changed.update(a=1, b=2)
    mine, theirs = ({}, {"d": changed}) if mine_is_gone else ({"d": changed}, {})
    merged = merge.merge({"d": base}, mine, theirs)["d"]
    assert merged == {"b": 2}
    assert type(merged) is type(base)
    assert vars(merged) == vars(base) if isinstance(merged, Owned) else merged["more"] == 0
    assert changed == {"a": 1, "b": 2}


def test_my_deletion_is_applied() -> None:
    assert merge.merge({"a": 1, "b": 1}, {"b": 1}, {"a": 1, "b": 2}) == {"b": 2}


def test_their_deletion_stays() -> None:
    assert merge.merge({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"b": 1}) == {"b": 2}


def test_of_one_value_changed_by_both_the_later_write_wins() -> None:
    assert merge.merge({"a": 1}, {"a": 2}, {"a": 3}) == {"a": 2}


def test_theirs_and_mine_are_left_alone() -> None:
    base: dict[str, Any] = {"d": {}}
    mine, theirs = {"d": {"m": 1}}, {"d": {"t": 1}}
    assert merge.merge(base, mine, theirs) == {"d": {"m": 1, "t": 1}}
    assert (mine, theirs) == ({"d": {"m": 1}}, {"d": {"t": 1}})


@pytest.mark.parametrize(("rule", "base", "mine", "theirs", "merged"), [
    (merge.add, 5, 7, 8, 10),
    (merge.add, merge.MISSING, 1, 1, 2),
    (merge.add, 1.5, 2.0, 2.5, 3.0),
    (merge.first, merge.MISSING, "m", "t", "t"),
    (merge.first, "b", "m", merge.MISSING, "m"),
    (merge.later, 1, 2, 3, 2),
    (merge.union, [1, 2], [1, 2, 3], [2, 4], [2, 4, 3]),
    (merge.union, merge.MISSING, [1], [2], [2, 1]),
    (merge.union, {1, 2}, {2, 3}, {1, 2, 4}, {2, 3, 4}),
    (merge.union, [1], [1, True], [1, 1.0], [1, 1.0, True]),
    (merge.union, [{"a": [1]}, {"b": 2}], [{"a": [1]}, ["c"]], [{"b": 2}, {"a": [1]}, {1, 2}],
     [{"a": [1]}, {1, 2}, ["c"]]),
    (merge.union, [bytearray(b"a"), {"o": bytearray(b"b")}], [bytearray(b"c")],
     [bytearray(b"a"), {"o": bytearray(b"b")}], [bytearray(b"c")]),
    (merge.union, [({1},)], [], [(frozenset({1}),), ({2},)], [({2},)]),
    (merge.union, [[1]], [[1], (1,)], [[1]], [[1], (1,)]),
])
def test_rules(rule: merge.Rule, base: Any, mine: Any, theirs: Any, merged: Any) -> None:
    state = {} if base is merge.MISSING else {"v": base}
    other = {} if theirs is merge.MISSING else {"v": theirs}
    assert merge.merge(state, {"v": mine}, other, {"v": rule}) == {"v": merged}


def test_a_union_asks_each_value_about_a_few_others_only() -> None:
    """A visitor may put thousands of things into a basket, and others wait while two requests of his are merged."""
    class Compared:
        times = 0

        def __init__(self, number: int) -> None:
            self.number = number

        def __hash__(self) -> int:
            return self.number

        def __eq__(self, other: object) -> bool:
            Compared.times += 1
            return isinstance(other, Compared) and self.number == other.number

    values = [[{"what": Compared(number)} for number in range(1000 + more)] for more in (0, 1, 2)]
    assert merge.union(*values) == values[2]
    assert Compared.times < 20_000


def test_a_list_that_contains_itself_is_one_value_of_a_union() -> None:
    mine: list[Any] = [1]
    mine.append(mine)
    assert merge.union([], mine, [2]) == [2, 1, mine]


def test_rules_of_inner_dicts() -> None:
    assert merge.merge({"d": {"n": 1}}, {"d": {"n": 2}}, {"d": {"n": 3}}, {"d": {"n": merge.add}}) == {"d": {"n": 4}}


@pytest.mark.parametrize(("a", "b"), [(1, True), (1, 1.0), (0.0, -0.0), ([1], [True]), ("a", b"a"), ((1,), [1])])
def test_what_compares_equal_is_not_always_the_same(a: Any, b: Any) -> None:
    assert not merge.same(a, b)


def test_nan_is_the_same_as_itself() -> None:
    assert merge.same(float("nan"), float("nan"))


@pytest.mark.parametrize("rule", [merge.union, merge.add, merge.first, merge.later])
def test_what_both_removed_is_gone(rule: merge.Rule) -> None:
    assert merge.merge({"x": [1] if rule is merge.union else 5}, {}, {}, {"x": rule}) == {}
