"""Serializers: the envelope, what each format refuses, and the name of the culprit."""

import enum
import hmac
import math
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session2 import (
    ConfigurationError,
    DictSession,
    Encrypted,
    JSONSerializer,
    PickleSerializer,
    SessionManager,
    Signed,
    get_secret,
)
from session2.errors import SerializationError
from session2.serializers import MsgpackSerializer, Serializer, check
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange

SECRET, OTHER = get_secret(), get_secret()

BOTH = pytest.mark.parametrize("serializer", [PickleSerializer(), JSONSerializer()])
ALL = pytest.mark.parametrize("serializer", [
    PickleSerializer(), JSONSerializer(), MsgpackSerializer(), Signed(PickleSerializer(), SECRET),
    Encrypted(PickleSerializer(), SECRET), Signed(JSONSerializer(), [SECRET, OTHER]),
], ids=lambda serializer: serializer.tag)
SEALING = pytest.mark.parametrize("sealing", [Signed, Encrypted])
KEY = "0" * 64


def recursive() -> list[Any]:
    knot: list[Any] = []
    for _ in range(100_000):
        knot = [knot]
    return knot


@ALL
def test_a_state_survives_the_round_trip(serializer: Serializer) -> None:
    state = {"user": "jörg", "data": {"n": 1, "list": [1.5, None, True], "deep": {"x": "\0"}}}
    data = serializer.seal(serializer.dumps(state), KEY)
    assert serializer.dumps(state) == serializer.dumps(state)
    assert serializer.loads(serializer.open(data, KEY)) == state
    assert data.startswith(b"s2 " + serializer.tag.encode() + b" ")


@ALL
@pytest.mark.parametrize("value", [recursive(), threading.Lock()], ids=["too deep", "a lock"])
def test_what_cannot_be_kept_is_named(serializer: Serializer, value: Any) -> None:
    with pytest.raises(SerializationError, match="'bad'") as caught:
        serializer.dumps({"good": 1, "bad": value})
    assert caught.value.where == "'bad'"
    with pytest.raises(SerializationError, match="'inner'"):
        serializer.dumps({"good": 1, "data": {"fine": 1, "inner": value}})


@dataclass(frozen=True)
class Place:
    shelf: int


class Point(NamedTuple):
    x: int
    y: int


class Sour:
    """It can be pickled, and not unpickled."""

    def __reduce__(self) -> Any:
        return int, ("lemon",)


def test_what_is_written_and_cannot_be_read_again_is_named() -> None:
    serializer = PickleSerializer()
    state = {"good": 1, "data": {"fine": 1, "inner": Sour()}}
    with pytest.raises(SerializationError, match="'inner' could not be read again"):
        check(serializer, state, serializer.dumps(state))


@ALL
@given(data=st.binary(max_size=60))
def test_foreign_bytes_are_an_error_of_one_kind(serializer: Serializer, data: bytes) -> None:
    with pytest.raises(SerializationError):
        serializer.loads(serializer.open(data, KEY))


def test_no_format_is_guessed() -> None:
    pickled = PickleSerializer().seal(PickleSerializer().dumps({}), KEY)
    with pytest.raises(SerializationError, match="json"):
        JSONSerializer().open(pickled, KEY)


@BOTH
def test_a_payload_that_is_no_dict_is_refused(serializer: Serializer) -> None:
    import json
    import pickle

    payload = pickle.dumps([1]) if serializer.tag == "pickle" else json.dumps([1]).encode()
    with pytest.raises(SerializationError, match="list"):
        serializer.loads(payload)


class Colour(enum.Enum):
    RED = 1


class Size(enum.IntEnum):
    SMALL = 1


class Name(str):
    __slots__ = ()


CHANGED: dict[str, Any] = {
    "tuple": (1, 2), "set": {1}, "frozenset": frozenset({1}), "Decimal": Decimal("1.10"), "Enum": Colour.RED,
    "IntEnum": Size.SMALL, "subclass of str": Name("anna"), "dataclass": Place(1), "named tuple": Point(1, 2),
    "datetime": datetime(2030, 1, 1, tzinfo=timezone.utc), "naive datetime": datetime(2030, 1, 1),
    "date": date(2030, 1, 1), "time": time(12), "timedelta": timedelta(1), "UUID": UUID(int=1), "deque": deque([1]),
    "OrderedDict": OrderedDict(a=1), "defaultdict": defaultdict(list, a=[1]), "Counter": Counter("a"),
    "bytearray": bytearray(b"x"), "memoryview": memoryview(b"x"), "object": object(), "key of tuple": {(1, 2): 3},
    "key of subclass": {Name("a"): 1}, "key of Enum": {Size.SMALL: 1}, "complex": 1j, "range": range(3)}
CHANGED_BY_JSON: dict[str, Any] = {
    "NaN": math.nan, "infinity": -math.inf, "bytes": b"x", "key of int": {1: "a"}, "key of bool": {True: 1},
    "key of None": {None: 1}, "key of float": {1.5: 1}}
STRICT = [(serializer, name) for serializer, names in (("json", {**CHANGED, **CHANGED_BY_JSON}), ("msgpack", CHANGED))
          for name in names]


@pytest.mark.parametrize("seal", [lambda inner: inner, lambda inner: Signed(inner, SECRET)], ids=["plain", "signed"])
@pytest.mark.parametrize(("tag", "name"), STRICT)
def test_a_type_that_a_format_would_change_in_silence_is_refused_and_its_key_named(tag: str, name: str,
                                                                                   seal: Any) -> None:
    value = {**CHANGED, **CHANGED_BY_JSON}[name]
    serializer = seal(JSONSerializer() if tag == "json" else MsgpackSerializer())
    for state in ({"v": value}, {"data": {"fine": 1, "v": value}}, {"v": [{"deep": [value]}]}):
        with pytest.raises(SerializationError, match=r"^'v' cannot be written as ") as caught:
            serializer.dumps(state)
        assert caught.value.where == "'v'"


leaves = st.none() | st.booleans() | st.integers(-2**63, 2**64 - 1) | st.floats(allow_nan=False) | st.text()


@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgpackSerializer()], ids=lambda serializer: serializer.tag)
@given(value=st.recursive(leaves | st.binary() | st.tuples(st.integers()) | st.sets(st.integers()) | st.datetimes()
                          | st.decimals() | st.sampled_from([*Colour, *Size]) | st.just(math.nan),
                          lambda inner: st.lists(inner) | st.dictionaries(leaves | st.tuples(leaves), inner)))
def test_what_is_not_refused_comes_back_as_it_was(serializer: Serializer, value: Any) -> None:
    try:
        payload = serializer.dumps({"v": value})
    except SerializationError:
        return
    assert repr(serializer.loads(payload)) == repr({"v": value})


@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgpackSerializer()], ids=lambda serializer: serializer.tag)
def test_all_that_a_session_keeps_of_itself_can_be_stored(serializer: Serializer) -> None:
    manager: SessionManager[Any] = SessionManager(VolatileSessionStore(serializer=serializer), DictSession)
    manager.start_request(request := FakeExchange())
    session = request.session
    session.create_form_token()
    session.remove_form_token(session.create_form_token())
    session.get_csrf_token()
    session["a"] = 1
    manager.save(session)
    session.set_user("anna")
    manager.save(session)
    found = manager.load(session.id)
    assert vars(found) == vars(session)
    assert found.get_login_time()


def test_a_value_whose_class_is_gone_is_one_error() -> None:
    with pytest.raises(SerializationError):
        PickleSerializer().loads(b"cno_such_module\nGone\n.")


class Canary:
    """Its pickle tells on whoever loads it."""

    sang = False

    def __reduce__(self) -> Any:
        return (setattr, (Canary, "sang", True))


@SEALING
def test_nothing_is_decoded_before_it_is_verified(sealing: Any) -> None:
    planted = PickleSerializer().seal(PickleSerializer().dumps({"x": Canary()}), KEY)
    serializer = sealing(PickleSerializer(), SECRET)
    foreign = sealing(PickleSerializer(), OTHER).seal(PickleSerializer().dumps({"x": Canary()}), KEY)
    header = serializer.seal(serializer.dumps({}), KEY).split(b"\n")[0] + b"\n"
    for data in (planted, foreign, header + planted, header + b"\0" * 32 + planted):
        with pytest.raises(SerializationError):
            serializer.loads(serializer.open(data, KEY))
    assert not Canary.sang
    PickleSerializer().loads(PickleSerializer().open(planted, KEY))
    assert Canary.sang, "the canary must be able to sing"
    Canary.sang = False


@ALL
def test_every_flipped_bit_and_every_cut_is_noticed(serializer: Serializer) -> None:
    data = serializer.seal(serializer.dumps({"a": 1}), KEY)
    for place in range(len(data)):
        for bit in range(8):
            flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1:]
            with pytest.raises(SerializationError):
                serializer.open(flipped, KEY)
        with pytest.raises(SerializationError):
            serializer.open(data[:place], KEY)


@pytest.mark.parametrize("serializer", [JSONSerializer(), MsgpackSerializer()], ids=lambda serializer: serializer.tag)
@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\xff" * 9, b"{", b"[1", b"1", b"\x01", b"[" * 100_000,
                                     b"\x91" * 100_000], ids=range(9))
def test_what_is_no_state_is_damage_and_no_other_error(serializer: Serializer, payload: bytes) -> None:
    with pytest.raises(SerializationError):
        serializer.loads(payload)


@ALL
def test_a_record_counts_only_in_its_place(serializer: Serializer) -> None:
    """An answer that belongs to another question is nobody's session."""
    data = serializer.seal(serializer.dumps({"a": 1}), KEY)
    with pytest.raises(SerializationError):
        serializer.open(data, "1" * 64)


@SEALING
def test_secrets_are_replaced_one_by_one(sealing: Any) -> None:
    old, both, new = (sealing(JSONSerializer(), secrets) for secrets in (OTHER, [SECRET, OTHER], [SECRET]))
    by_old, by_both = (serializer.seal(b"{}", KEY) for serializer in (old, both))
    assert both.open(by_old, KEY) == new.open(by_both, KEY) == b"{}"
    for serializer, data in ((old, by_both), (new, by_old)):
        with pytest.raises(SerializationError, match="secret"):
            serializer.open(data, KEY)


def test_signed_and_encrypted_are_not_taken_for_each_other() -> None:
    signed, encrypted = Signed(JSONSerializer(), SECRET), Encrypted(JSONSerializer(), SECRET)
    for one, other in ((signed, encrypted), (encrypted, signed)):
        with pytest.raises(SerializationError):
            one.open(other.seal(b"{}", KEY), KEY)


def test_equal_states_have_different_ciphertexts_and_nonces_do_not_repeat() -> None:
    encrypted = Encrypted(JSONSerializer(), SECRET)
    sealed = {encrypted.seal(b"{" + b" " * 64 + b"}", KEY) for _ in range(10_000)}
    header = len(b"s2 encrypted ") + 9
    assert len({data[header:header + 12] for data in sealed}) == 10_000
    body = next(iter(sealed))[header + 12:]
    blocks = [body[start:start + 16] for start in range(0, 64, 16)]
    assert len(set(blocks)) == len(blocks)


@SEALING
@pytest.mark.parametrize("secrets", [[], "short", [b"x" * 31], ""])
def test_weak_secrets_are_refused(sealing: Any, secrets: Any) -> None:
    with pytest.raises(ConfigurationError, match="secret"):
        sealing(JSONSerializer(), secrets)
    sealing(JSONSerializer(), b"x" * 32)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2009-3086: a comparison that stops at the first difference tells how much was right."""
    compared: list[bytes] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(a) or compare(a, b))
    signed = Signed(JSONSerializer(), SECRET)
    data = signed.seal(b"{}", KEY)
    assert signed.open(data, KEY) == b"{}"
    assert [len(signature) for signature in compared] == [32]
    assert compared[0] in data
