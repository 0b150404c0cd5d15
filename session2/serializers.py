"""Bytes from state and state from bytes.

What a store keeps is an envelope: one header line that names the format, then the payload.  A record of another
format is never guessed at; it is reported and treated as a missing session.
"""

from __future__ import annotations

import json
import pickle
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from .errors import SerializationError

State = dict[str, Any]


class Serializer(ABC):
    """Turns the state of a session into a payload and back, and puts the payload into its envelope.

    A format implements `dumps` and `loads`; a wrapper that signs or encrypts overrides `seal` and `open` too.
    `dumps` must be deterministic for one object graph: a request that changed nothing is recognised by it.
    """

    tag: ClassVar[str]

    @abstractmethod
    def dumps(self, state: State) -> bytes:
        """Return the payload of `state`, or raise `SerializationError` naming the attribute or key at fault."""

    @abstractmethod
    def loads(self, payload: bytes) -> State:
        """Return the state in `payload`, or raise `SerializationError`."""

    def seal(self, payload: bytes, key: str) -> bytes:
        """Return the envelope to store under `key`."""
        return self._header + payload

    def open(self, data: bytes, key: str) -> bytes:
        """Return the payload of the envelope stored under `key`, or raise `SerializationError`."""
        header = self._header
        if not data.startswith(header):
            raise SerializationError(f"the record is not of the format {self.tag!r} this store is made for")
        return data[len(header):]

    @property
    def _header(self) -> bytes:
        return b"s2 " + self.tag.encode("ascii") + b"\n"


class PickleSerializer(Serializer):
    """Keeps anything pickle can keep.

    Whoever can write to the store can run code in your application: keep the store private, or choose a signed,
    encrypted or JSON format.
    """

    tag = "pickle"

    def __init__(self, protocol: int = 5) -> None:
        self._protocol = protocol

    def dumps(self, state: State) -> bytes:
        try:
            return pickle.dumps(state, self._protocol)
        except Exception as error:  # pickle lets through whatever a value's own __reduce__ raises
            where = _culprit(state, lambda value: pickle.dumps(value, self._protocol))
            raise SerializationError(f"{where} cannot be pickled: {error}", where) from error

    def loads(self, payload: bytes) -> State:
        try:
            return _checked(pickle.loads(payload))
        except Exception as error:  # a damaged pickle can raise anything
            raise SerializationError(f"the record cannot be unpickled: {error}") from error


class JSONSerializer(Serializer):
    """Keeps what JSON can keep: any language can read it and no record can run code.  Tuples come back as lists."""

    tag = "json"

    def dumps(self, state: State) -> bytes:
        try:
            return _encode_json_strictly(state)
        except (TypeError, ValueError, RecursionError) as error:
            where = _culprit(state, _encode_json_strictly)
            raise SerializationError(f"{where} cannot be written as JSON: {error}", where) from error

    def loads(self, payload: bytes) -> State:
        try:
            return _checked(json.loads(payload))
        except (ValueError, RecursionError, SerializationError) as error:
            raise SerializationError(f"the record is not JSON: {error}") from error


def _encode_json_strictly(value: Any) -> bytes:
    _refuse_other_keys(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _refuse_other_keys(value: Any) -> None:
    """JSON would turn the key 1 into "1" without a word, and the session would not come back as it was."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"keys must be str, not {type(key).__name__}")
            _refuse_other_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_other_keys(item)


def _checked(state: Any) -> State:
    if not isinstance(state, dict):
        raise SerializationError(f"a session state is a dict, this record holds a {type(state).__name__}")
    return state


def _culprit(state: State, attempt: Any) -> str:
    """Name the first part of `state` that cannot be serialised, as deep as plain dicts go."""
    for name, value in state.items():
        try:
            attempt(value)
        except Exception:
            inner = _culprit(value, attempt) if type(value) is dict and name == "data" else None
            return inner if inner and inner != "the state" else repr(name)
    return "the state"
