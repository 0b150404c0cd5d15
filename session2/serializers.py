"""Bytes from state and state from bytes.

What a store keeps is an envelope: one header line with the format and the checksum (or the secret it was made with),
then the payload.  A record that is damaged or of another format is never guessed at: it is reported and counts as
missing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import import_module
from types import ModuleType, NoneType
from typing import Any, ClassVar, Final
from zlib import crc32

from .errors import ConfigurationError, SerializationError

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
        """Return the envelope to store under `key`; it is no envelope under any other."""
        return self._head(payload, key) + payload

    def open(self, data: bytes, key: str) -> bytes:
        """Return the payload of the envelope stored under `key`, or raise `SerializationError`."""
        payload = data[self._head_length:]
        if not data.startswith(self._head(payload, key)):
            self._body(data)  # raises if it is of another format
            raise SerializationError("the record is damaged, or was stored under another key")
        return payload

    def _head(self, payload: bytes, key: str) -> bytes:
        return b"%b%08x\n" % (self._header, crc32(payload, crc32(key.encode())))

    @cached_property
    def _head_length(self) -> int:
        return len(self._head(b"", ""))

    def _body(self, data: bytes) -> bytes:
        header = self._header
        if data[:len(header)] != header:
            raise SerializationError(f"the record is not of the format {self.tag!r} this store is made for")
        return data[len(header):]

    @cached_property
    def _header(self) -> bytes:
        return b"s2 " + self.tag.encode("ascii") + b" "


# What a record raises that is of no use to this process: bytes that are no pickle, a class that is no more or has
# another shape.  Anything else, such as too little memory, a time limit or an I/O error, says nothing about the record.
_UNREADABLE: Final = (pickle.UnpicklingError, SerializationError, ArithmeticError, AttributeError, EOFError,
                      ImportError, LookupError, RecursionError, TypeError, ValueError)


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
            where = culprit(state, lambda value: pickle.dumps(value, self._protocol))
            raise SerializationError(f"{where} cannot be pickled: {error}", where) from error

    def loads(self, payload: bytes) -> State:
        try:
            state: State = pickle.loads(payload)
            return state if type(state) is dict else _checked(state)
        except _UNREADABLE as error:
            raise SerializationError(f"the record cannot be unpickled: {error}") from error


class JSONSerializer(Serializer):
    """Keeps None, bool, int, finite float, str, and lists and dicts (with keys of str) of these, and nothing else.

    Any language can read it and no record can run code.  What JSON would turn into something else, such as a tuple
    into a list or NaN into what is no JSON, is refused.
    """

    tag = "json"

    def __init__(self) -> None:
        import json  # takes a while, and most keep pickle

        self._encode_anything = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
        self._decode: Callable[[str], Any] = json.loads

    def dumps(self, state: State) -> bytes:
        try:
            return self._encode(state)
        except (TypeError, ValueError, RecursionError) as error:
            where = culprit(state, self._encode)
            raise SerializationError(f"{where} cannot be written as JSON: {error}", where) from error

    def loads(self, payload: bytes) -> State:
        try:
            return _checked(self._decode(payload.decode("utf-8")))  # else it would look which encoding it is
        except (ValueError, RecursionError, SerializationError) as error:
            raise SerializationError(f"the record is not JSON: {error}") from error

    def _encode(self, value: Any) -> bytes:
        _refuse_others(value, _IN_JSON, _KEYS_IN_JSON)
        return self._encode_anything(value).encode("utf-8")


class MsgpackSerializer(Serializer):
    """Keeps what JSON does, all floats, bytes, and keys that are no str, smaller and faster.

    What MessagePack would turn into something else, such as dates and UUIDs into text, is refused.
    Needs ``pip install 'session2[msgpack]'``.
    """

    tag = "msgpack"

    def __init__(self) -> None:
        msgpack = _driver("msgspec.msgpack", "msgpack")
        self._encode_anything: Callable[[Any], bytes] = msgpack.Encoder().encode
        self._decode: Callable[[bytes], Any] = msgpack.Decoder().decode

    def dumps(self, state: State) -> bytes:
        try:
            return self._encode(state)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            where = culprit(state, self._encode)
            raise SerializationError(f"{where} cannot be written as MessagePack: {error}", where) from error

    def loads(self, payload: bytes) -> State:
        try:
            return _checked(self._decode(payload))
        except (ValueError, RecursionError, SerializationError) as error:
            raise SerializationError(f"the record is not MessagePack: {error}") from error

    def _encode(self, value: Any) -> bytes:
        _refuse_others(value, _IN_MSGPACK, _IN_MSGPACK)
        return self._encode_anything(value)


class _Sealing(Serializer):
    """A serializer around another one that lets nothing be decoded which it has not verified.

    The envelope is bound to the key it is stored under, so that records cannot be swapped, and names the secret it
    was made with, so that secrets can be replaced one by one.
    """

    purpose: ClassVar[bytes]

    def __init__(self, inner: Serializer, secrets: str | bytes | Sequence[str | bytes]) -> None:
        """Wrap `inner`.

        :param secrets: one secret of `get_secret`, or several: the first one seals, all of them open.
        """
        found = [secrets] if isinstance(secrets, (str, bytes)) else list(secrets)
        if not found:
            raise ConfigurationError("at least one secret is needed; make one with session2.get_secret()")
        self.inner = inner
        self._keys = {self._name(key): key for key in map(self._derive, found)}
        self._newest = next(iter(self._keys))

    def dumps(self, state: State) -> bytes:
        return self.inner.dumps(state)

    def loads(self, payload: bytes) -> State:
        return self.inner.loads(payload)

    def seal(self, payload: bytes, key: str) -> bytes:
        header = self._header + self._newest + b"\n"
        return header + self._close(self._keys[self._newest], self.inner.seal(payload, key), header + key.encode())

    def open(self, data: bytes, key: str) -> bytes:
        name, newline, body = self._body(data).partition(b"\n")
        secret = self._keys.get(name)
        if not newline or secret is None:
            raise SerializationError(f"the record was not {self.tag} with a secret this store knows")
        return self.inner.open(self._unclose(secret, body, self._header + name + b"\n" + key.encode()), key)

    @abstractmethod
    def _close(self, secret: bytes, data: bytes, bound: bytes) -> bytes:
        """Return `data` so that only who knows `secret` can have made it, for the place `bound`."""

    @abstractmethod
    def _unclose(self, secret: bytes, body: bytes, bound: bytes) -> bytes:
        """Return what `_close` was given, or raise `SerializationError`."""

    def _derive(self, secret: str | bytes) -> bytes:
        raw = secret.encode() if isinstance(secret, str) else secret
        if len(raw) < 32:
            raise ConfigurationError("a secret has at least 32 bytes; make one with session2.get_secret()")
        return hmac.digest(raw, self.purpose, "sha256")

    @staticmethod
    def _name(key: bytes) -> bytes:
        return hashlib.sha256(b"name of " + key).hexdigest()[:8].encode()


class Signed(_Sealing):
    """Signs what another serializer makes with HMAC-SHA-256; a record that was tampered with is a missing session."""

    tag = "signed"
    purpose = b"session2 sign"

    def _close(self, secret: bytes, data: bytes, bound: bytes) -> bytes:
        return hmac.digest(secret, bound + b"\0" + data, "sha256") + data

    def _unclose(self, secret: bytes, body: bytes, bound: bytes) -> bytes:
        signature, data = body[:32], body[32:]
        if not hmac.compare_digest(signature, hmac.digest(secret, bound + b"\0" + data, "sha256")):
            raise SerializationError("the signature of the record is wrong")
        return data


class Encrypted(_Sealing):
    """Encrypts what another serializer makes with AES-256-GCM; a record that was tampered with is a missing session.

    The name of the user beside the record is not encrypted: stores find sessions by it.
    Needs ``pip install 'session2[encrypted]'``.
    """

    tag = "encrypted"
    purpose = b"session2 encrypt"

    def __init__(self, inner: Serializer, secrets: str | bytes | Sequence[str | bytes]) -> None:
        """Wrap `inner`.

        :param secrets: one secret of `get_secret`, or several: the first one seals, all of them open.
        """
        super().__init__(inner, secrets)
        aead = _driver("cryptography.hazmat.primitives.ciphers.aead", "encrypted")
        self._ciphers = {key: aead.AESGCM(key) for key in self._keys.values()}

    def _close(self, secret: bytes, data: bytes, bound: bytes) -> bytes:
        nonce = os.urandom(12)
        return nonce + bytes(self._ciphers[secret].encrypt(nonce, data, bound))

    def _unclose(self, secret: bytes, body: bytes, bound: bytes) -> bytes:
        try:
            return bytes(self._ciphers[secret].decrypt(body[:12], body[12:], bound))
        except Exception as error:  # InvalidTag of a package that may not be there, ValueError for a short nonce
            raise SerializationError("the record cannot be decrypted") from error


def check(serializer: Serializer, state: State, payload: bytes) -> None:
    """Raise `SerializationError` if `payload`, made of `state`, cannot be read again: some values fail only then."""
    try:
        serializer.loads(payload)
    except SerializationError as error:
        where = culprit(state, lambda value: serializer.loads(serializer.dumps({"value": value})))
        raise SerializationError(f"{where} could not be read again: {error}", where) from error


def get_secret() -> str:
    """Return a new secret for `Signed` or `Encrypted`: 256 random bits as text."""
    return secrets.token_urlsafe(32)


def _driver(module: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigurationError(f"this needs another package: pip install 'session2[{extra}]'") from None


# -- what a format keeps as it is -------------------------------------------------------------------------------------


_IN_JSON: Final = frozenset({NoneType, bool, int, float, str})
_IN_MSGPACK: Final = _IN_JSON | {bytes}


_KEYS_IN_JSON: Final = frozenset({str})

def _refuse_others(value: Any, kinds: frozenset[type], key_kinds: frozenset[type]) -> None:
    """Raise TypeError for what would come back as something else, without a word: a tuple, an Enum, the key 1."""
    kind = type(value)  # a subclass comes back as its base
    if kind is dict:
        for key, item in value.items():
            if type(key) not in key_kinds:
                raise TypeError(f"keys must be {_names(key_kinds)}, not {type(key).__name__}")
            if type(item) not in kinds:
                _refuse_others(item, kinds, key_kinds)
    elif kind is list:
        for item in value:
            if type(item) not in kinds:
                _refuse_others(item, kinds, key_kinds)
    elif kind not in kinds:
        raise TypeError(f"a {kind.__name__} would not come back as one; turn it into {_names(kinds)}, list or dict")


def _names(kinds: frozenset[type]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds - {NoneType}))


def _checked(state: Any) -> State:
    if type(state) is not dict and not isinstance(state, dict):
        raise SerializationError(f"a session state is a dict, this record holds a {type(state).__name__}")
    return state


def culprit(state: State, attempt: Callable[[Any], object]) -> str:
    """Name the first part of `state` for which `attempt` fails: an attribute, or a key of a `DictSession`."""
    for name, value in state.items():
        try:
            attempt(value)
        except Exception:
            inner = culprit(value, attempt) if type(value) is dict and name == "data" else None
            return inner if inner and inner != "the state" else repr(name)
    return "the state"
