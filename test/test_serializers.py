"""Serializers: the envelope, what each format refuses, and the name of the culprit."""

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session2 import JSONSerializer, PickleSerializer, SerializationError
from session2.serializers import Serializer

BOTH = pytest.mark.parametrize("serializer", [PickleSerializer(), JSONSerializer()])
KEY = "0" * 64


def recursive() -> list[Any]:
    knot: list[Any] = []
    for _ in range(100_000):
        knot = [knot]
    return knot


@BOTH
def test_a_state_survives_the_round_trip(serializer: Serializer) -> None:
    state = {"user": "jörg", "data": {"n": 1, "list": [1.5, None, True], "deep": {"x": "\0"}}}
    data = serializer.seal(serializer.dumps(state), KEY)
    assert serializer.loads(serializer.open(data, KEY)) == state
    assert data.split(b"\n", 1)[0] == b"s2 " + serializer.tag.encode()


@BOTH
@pytest.mark.parametrize("value", [recursive(), threading.Lock()], ids=["too deep", "a lock"])
def test_what_cannot_be_kept_is_named(serializer: Serializer, value: Any) -> None:
    with pytest.raises(SerializationError, match="'bad'") as caught:
        serializer.dumps({"good": 1, "bad": value})
    assert caught.value.where == "'bad'"
    with pytest.raises(SerializationError, match="'inner'"):
        serializer.dumps({"good": 1, "data": {"fine": 1, "inner": value}})


@BOTH
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


@pytest.mark.parametrize("value", [{1: "a"}, [{"x": {2: 3}}], ({None: 1},)])
def test_json_refuses_keys_it_would_change(value: Any) -> None:
    with pytest.raises(SerializationError, match="keys must be str"):
        JSONSerializer().dumps({"v": value})


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_json_refuses_what_it_has_no_form_for(value: Any) -> None:
    with pytest.raises(SerializationError, match="'v'"):
        JSONSerializer().dumps({"v": value})


def test_a_value_whose_class_is_gone_is_one_error() -> None:
    with pytest.raises(SerializationError):
        PickleSerializer().loads(b"cno_such_module\nGone\n.")
