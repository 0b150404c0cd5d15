"""A request that changed nothing writes nothing, and no change goes unnoticed: over arbitrary state."""

import enum
import os
import pickle
import struct
import subprocess
import sys
import time
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from session2.equality import same
from session2.record import Outcome
from session2.serializers import JSONSerializer, PickleSerializer
from session2.session import DictSession, Session
from session2.store.directory import DirectorySessionStore
from session2.store.volatile import VolatileSessionStore
from session2.tokens import new_id

thorough = settings(max_examples=100, deadline=None, database=None)


class Item:
    """What an application might keep: an ordinary class of its own."""

    def __init__(self, value):
        self.value = value
        self.same = value


@dataclass(frozen=True)
class Point:
    x: object
    y: object


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def copied(text):
    """Return an equal string that is another object, and one that is the interned one."""
    return st.sampled_from([text, "".join([*text]), sys.intern(str(text))])


texts = st.text(max_size=8).flatmap(copied) | st.sampled_from(["user", "data", "value", "x"])
numbers = st.integers() | st.booleans() | st.sampled_from([0, 1, 2**31, -2**63, 0.0, -0.0])
plain = st.none() | numbers | texts | st.binary(max_size=8)
instants = st.datetimes(timezones=st.none() | st.just(timezone.utc)) | st.dates() | st.timedeltas()
scalars = (plain | st.floats() | instants | st.decimals(allow_nan=False) | st.uuids() | st.sampled_from(Colour)
           | st.fractions() | st.complex_numbers())
keys = st.recursive(plain | st.floats(allow_nan=False) | st.uuids() | st.dates() | st.sampled_from(Colour),
                    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=4)
                    | st.builds(Point, inner, inner), max_leaves=4)


def containers(inner):
    return (st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4)
            | st.sets(keys, max_size=5) | st.frozensets(keys, max_size=5) | st.builds(Item, inner)
            | st.builds(lambda value: [value, value, (value,), {"again": value}], inner)
            | st.builds(lambda value: OrderedDict(a=value, b=[value]), inner) | st.builds(bytearray, st.binary()))


values = st.recursive(scalars | keys, containers, max_leaves=12)


@st.composite
def states(draw):
    """Draw items that share parts of each other, and perhaps contain themselves."""
    parts = draw(st.lists(values, min_size=1, max_size=4))
    names = draw(st.lists(texts, max_size=6, unique=True))
    items = {name: draw(st.sampled_from(parts)) for name in names}
    if draw(st.booleans()):
        loop = [*parts]
        loop.append(loop)
        items["loop"] = loop
    return items


def stored(items, serializer=None):
    """Return a store and the id of a session in it that holds these items, as items and as attributes."""
    store = VolatileSessionStore(serializer=serializer)
    session = DictSession(new_id())
    session.data.update(items)
    session.items_again = items
    assert store.sessions.save(session) is Outcome.SAVED
    assert store.sessions.save(session) is Outcome.UNCHANGED
    return store, session.id


@thorough
@given(states())
def test_unchanged_state_is_not_written(items):
    store, session_id = stored(items)
    before = list(store.scan())
    for _ in range(2):
        session = store.sessions.load(session_id, DictSession)
        assert not store.sessions.is_changed(session)
        assert store.sessions.save(session) is Outcome.UNCHANGED
    assert list(store.scan()) == before


@thorough
@given(states())
def test_unchanged_state_of_the_second_generation_is_not_written(items):
    """What is stored may come from a session that was loaded: its bytes are others than those of the first save."""
    store, session_id = stored(items)
    for turn in range(2):
        session = store.sessions.load(session_id, DictSession)
        session["turn"] = turn
        assert store.sessions.save(session) is Outcome.SAVED
        assert store.sessions.save(session) is Outcome.UNCHANGED
        assert store.sessions.save(store.sessions.load(session_id, DictSession)) is Outcome.UNCHANGED


@thorough
@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)))
def test_unchanged_json_is_not_written(items):
    store, session_id = stored(items, JSONSerializer())
    session = store.sessions.load(session_id, DictSession)
    assert store.sessions.save(session) is Outcome.UNCHANGED
    session["turn"] = 1
    assert store.sessions.save(session) is Outcome.SAVED
    assert store.sessions.save(store.sessions.load(session_id, DictSession)) is Outcome.UNCHANGED


# -- changes -----------------------------------------------------------------------------------------------------------

OTHER = {True: 1, False: 0, None: False}


def changed(value, draw):
    """Return `value` with the least change somewhere in it; containers that can be changed are changed in place."""
    for kinds, change in CHANGES:
        if isinstance(value, kinds):
            return change(value, draw)
    return None if isinstance(value, enum.Enum) else [value]


def changed_number(value, draw):
    if isinstance(value, bool) or value is None:
        return OTHER[value]
    if value == 0 and isinstance(value, float):
        return draw(st.sampled_from([-value, 0]))
    if value in (0, 1) and isinstance(value, int):
        return draw(st.sampled_from([bool(value), float(value), value + 2]))
    return draw(st.sampled_from([str(value), [value], None]))


def changed_list(value, draw):
    how = draw(st.sampled_from(["append", "reverse", "inside", "drop"]))
    if how == "reverse" and len(value) > 1 and not alike(value[0], value[-1]):
        value[0], value[-1] = value[-1], value[0]
    elif how == "inside" and value:
        value[0] = changed(value[0], draw)
    elif how == "drop" and value:
        value.pop()
    else:
        value.append(None)
    return value


def changed_dict(value, draw):
    how = draw(st.sampled_from(["add", "reorder", "inside", "drop"]))
    first = next(iter(value), None)
    if how == "reorder" and len(value) > 1:
        value[first] = value.pop(first)
    elif how == "inside" and value:
        value[first] = changed(value[first], draw)
    elif how == "drop" and value:
        del value[first]
    else:
        value["a key that was not there"] = None
    return value


def changed_tuple(value, draw):
    if not value or draw(st.booleans()):
        return [*value]
    return (changed(value[0], draw), *value[1:])


def changed_set(value, draw):
    value.symmetric_difference_update({"an element that was not there"})
    return value


def changed_object(value, draw):
    value.value = changed(value.value, draw)
    return value


def changed_elsewhere(value, draw):
    return draw(st.sampled_from([f"{value!r}", [value], (value,)]))


CHANGES = [
    ((bool, int, float, type(None)), changed_number),
    (str, lambda value, draw: draw(st.sampled_from([value + "\0", value.encode(), [value]]))),
    (bytearray, lambda value, draw: bytes(value)),
    (bytes, lambda value, draw: draw(st.sampled_from([value + b"\0", bytearray(value)]))),
    (list, changed_list),
    (dict, changed_dict),
    (tuple, changed_tuple),
    (set, changed_set),
    (frozenset, lambda value, draw: set(value)),
    (Item, changed_object),
    (Decimal, lambda value, draw: Fraction(value) if value.is_finite() else None),
    (datetime, lambda value, draw: value.replace(fold=1 - value.fold)),
    ((date, timedelta, UUID), changed_elsewhere),
]


def alike(a, b):
    """Tell whether two values without loops are alike down to types, signs and order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return alike([a.real, a.imag], [b.real, b.imag])
    if isinstance(a, dict):
        return alike([*a.items()], [*b.items()])
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Item):
        return alike(vars(a), vars(b))
    if isinstance(a, datetime):
        return a == b and a.fold == b.fold
    return a == b


@thorough
@given(values, values, st.data())
def test_any_change_is_written(value, bystander, data):
    store, session_id = stored({"value": value, "bystander": bystander})
    session = store.sessions.load(session_id, DictSession)
    session["value"] = changed(session["value"], data.draw)
    assert store.sessions.is_changed(session)
    assert store.sessions.save(session) is Outcome.SAVED
    again = store.sessions.load(session_id, DictSession)
    assert alike(again["value"], session["value"])
    assert alike(again["bystander"], bystander)
    assert store.sessions.save(again) is Outcome.UNCHANGED


@thorough
@given(values, st.data())
def test_change_of_an_attribute_is_written(value, data):
    store, session_id = stored({"value": value})
    session = store.sessions.load(session_id, DictSession)
    session.items_again["value"] = changed(session.items_again["value"], data.draw)
    assert store.sessions.save(session) is Outcome.SAVED
    assert alike(store.sessions.load(session_id, DictSession).items_again["value"], session.items_again["value"])


@thorough
@given(states())
def test_order_of_items_is_a_change(items):
    assume(len(items) > 1)
    store, session_id = stored(items)
    session = store.sessions.load(session_id, DictSession)
    first = next(iter(session.data))
    session[first] = session.data.pop(first)
    assert store.sessions.save(session) is Outcome.SAVED
    assert [*store.sessions.load(session_id, DictSession)] == [*session]


@pytest.mark.parametrize(("before", "after"), [
    (1, True), (True, 1), (0, False), (1, 1.0), (0.0, -0.0), (-0.0, 0.0), (None, False), ("1", 1), ("a", b"a"),
    ((1,), [1]), ([1, 2], [2, 1]), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({1}, frozenset({1})), ({1: 0}, {True: 0}),
    (Decimal("1.0"), Decimal("1.00")), (float("nan"), float("inf")), ({"a": {"b": [1]}}, {"a": {"b": [True]}}),
    (Point(0.0, 1), Point(-0.0, 1)), (Colour.RED, Colour.BLUE), (OrderedDict(a=1), {"a": 1}),
], ids=repr)
def test_equal_is_not_the_same(before, after):
    store, session_id = stored({"value": before})
    session = store.sessions.load(session_id, DictSession)
    session["value"] = after
    assert store.sessions.save(session) is Outcome.SAVED
    assert repr(store.sessions.load(session_id, DictSession)["value"]) == repr(after)


class CountingSerializer(PickleSerializer):
    decoded = 0

    def loads(self, payload):
        self.decoded += 1
        return super().loads(payload)


@pytest.mark.parametrize(("change", "decoded"), [
    (lambda session: session.update(n=1), 1), (lambda session: session.update(time=2.0), 1),
    (lambda session: session.update(more=None), 1), (lambda session: session["list"].append(1), 2)])
def test_what_was_there_is_decoded_again_only_where_no_plain_value_differs(change, decoded):
    serializer = CountingSerializer()
    store, session_id = stored({"n": 0, "time": 1.0, "list": []}, serializer)
    session = store.sessions.load(session_id, DictSession)
    change(session)
    before = serializer.decoded
    assert store.sessions.save(session) is Outcome.SAVED
    assert serializer.decoded == before + decoded


class Forgetful(Session):
    """Keeps some of what it has to itself."""

    def get_state(self):
        return {name: {**value, "cache": None} if name == "data" else value for name, value in vars(self).items()}


@pytest.mark.parametrize("change", [lambda data: data.update(n=1) or data.update(n=0),
                                    lambda data: data.update(text="".join(["te", "xt"])), lambda data: data["b"].sort(),
                                    lambda data: data.update(cache=1)])
def test_what_was_changed_back_is_not_written(change):
    store = VolatileSessionStore()
    session = Forgetful(new_id())
    text = "text"
    session.data = {"n": 0, "text": text, "again": text, "b": [1, 2], "cache": None}
    store.sessions.save(session)
    session = store.sessions.load(session.id, Forgetful)
    change(session.data)
    assert store.sessions.save(session) is Outcome.UNCHANGED


# -- another process ---------------------------------------------------------------------------------------------------

WORDS = ["user", "data", "value", *(f"word {number}" for number in range(30))]
SHARED = ["a list in two places", {*WORDS}]

CORPUS = {
    "set of texts": {*WORDS},
    "frozensets in a set": {frozenset(WORDS), frozenset(WORDS[:3]), frozenset()},
    "set in a dict in a list": [{"set": {*WORDS}, **{word: {word, 1, None} for word in WORDS}}],
    "set of everything": {None, True, 2, -0.5, "text", b"bytes", (1, "two"), frozenset("abc"), date(2020, 2, 29),
                          Decimal("1.50"), UUID(int=7), Fraction(1, 3), PurePosixPath("/a/b")},
    "counters": [Counter("mississippi"), defaultdict(set, a={*WORDS}), OrderedDict.fromkeys(WORDS), deque(WORDS, 50)],
    "objects": SimpleNamespace(user="user", words={*WORDS}, inner=SimpleNamespace(user="".join(["us", "er"]))),
    "shared": [SHARED, SHARED, {"again": SHARED}],
    "equal texts": ["value", "".join(["val", "ue"]), sys.intern("value")],
    "numbers": [float("nan"), float("inf"), -0.0, 0.0, True, 1, 1.0, 2**200, 1j],
    "times": [datetime(2020, 2, 29, tzinfo=timezone.utc), timedelta(1), datetime(2020, 1, 1, fold=1)],
}

SAVE_ALL_AGAIN = """
import sys
import time
from session2.session import DictSession, Session
from session2.store.directory import DirectorySessionStore
store = DirectorySessionStore(sys.argv[1])
for id in sys.argv[2:]:
    session = store.sessions.load(id, DictSession)
    print(store.sessions.save(session).value, store.sessions.is_changed(session), sep="-", end="-")
    words = session["value"]
    session["value"] = [words]
    print(store.sessions.is_changed(session))
"""


@pytest.mark.parametrize("seed", ["0", "1", "12345"])
def test_another_hash_seed_is_no_change(tmp_path, seed):
    """Sets come in another order in every process."""
    store = DirectorySessionStore(tmp_path / "sessions", create=True)
    sessions = []
    for value in CORPUS.values():
        session = DictSession(new_id())
        session["value"] = value
        session.attribute = value
        store.sessions.save(session)
        sessions.append(session.id)
    before = dict(store.scan())
    run = subprocess.run([sys.executable, "-c", SAVE_ALL_AGAIN, tmp_path / "sessions", *sessions], check=True,
                         capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert dict(zip(CORPUS, run.stdout.split(), strict=True)) == dict.fromkeys(CORPUS, "unchanged-False-True")
    assert dict(store.scan()) == before


class Tag:
    """Something that is equal to itself only, so that a set of these has another order each time."""

    def __init__(self, name):
        self.name = name


class Tags(set):
    """A set with something beside what is in it."""

    owner = "nobody"


@pytest.mark.parametrize("kind", [set, frozenset, Tags])
def test_a_large_set_of_objects_that_hash_by_identity_is_unchanged_soon(kind):
    store, session_id = stored({"tags": kind(Tag(f"tag {number}") for number in range(1500))})
    start = time.process_time()
    session = store.sessions.load(session_id, DictSession)
    assert store.sessions.save(session) is Outcome.UNCHANGED
    assert time.process_time() - start < 2


def test_what_is_changed_beside_the_items_of_a_set_is_stored():
    store, session_id = stored({"tags": Tags([Tag("a"), Tag("b")])})
    session = store.sessions.load(session_id, DictSession)
    session["tags"].owner = "joe"
    assert store.sessions.save(session) is Outcome.SAVED
    session = store.sessions.load(session_id, DictSession)
    session["tags"].pop()
    assert store.sessions.save(session) is Outcome.SAVED


def test_objects_too_deep_to_be_told_apart_are_not_called_different():
    """A change of others would be lost: what this request left alone would count as changed by it."""
    one, other = Item([text := "".join("name"), text]), Item([text, "".join("name")])
    for _ in range(200):
        one, other = Item(one), Item(other)
    assert pickle.dumps(one) != pickle.dumps(other)
    with pytest.raises(RecursionError):
        same(one, other)
