"""Session ids: strength, form, hashing and passing on."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session2 import tokens

HOSTILE = ["", "*del*", "../../etc/passwd", "/dev/null", "x" * 42, "x" * 44, "x" * 5000, "a" * 42 + "\0", "é" * 43,
           "a" * 42 + "\n", "a" * 43 + "\n", "a" * 43 + ".lock", "x" * 64, None, 5, b"a" * 43]


def test_an_id_has_256_bits_and_none_comes_twice() -> None:
    ids = {tokens.new_id() for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(tokens.is_id(id) for id in ids)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_else_is_taken_for_an_id(text: object) -> None:
    assert not tokens.is_id(text)


def test_the_key_is_the_hash_of_the_id() -> None:
    id = tokens.new_id()
    assert tokens.hash_id(id) == hashlib.sha256(id.encode()).hexdigest()
    assert not tokens.is_id(tokens.hash_id(id))


def test_who_knows_the_old_id_learns_the_new_one_and_nobody_else_does() -> None:
    old, new, other = tokens.new_id(), tokens.new_id(), tokens.new_id()
    sealed = tokens.seal_id(new, old)
    assert tokens.unseal_id(sealed, old) == new
    assert tokens.unseal_id(sealed, other) != new
    assert new.encode() not in sealed


@given(st.binary(max_size=64))
def test_unsealing_garbage_never_raises(sealed: bytes) -> None:
    found = tokens.unseal_id(sealed, tokens.new_id())
    assert found is None or tokens.is_id(found)
