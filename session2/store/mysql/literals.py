"""Statements with the values in them, whatever a connection's converters would do to those."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final


def filled(text: str, arguments: Mapping[str, Any]) -> str:
    """Return a statement with its arguments filled in."""
    return text % {name: _LITERALS.get(type(value), _number)(value) for name, value in arguments.items()}


def _several(values: Sequence[str]) -> str:
    return f"({', '.join(map(_plain, values))})"


def _plain(text: str) -> str:
    """All strings are keys or parts of them."""
    assert text.isascii(), "users are sent as bytes"
    assert "'" not in text, "keys have no quotes"
    assert "\\" not in text, "keys escape nothing"
    return f"'{text}'"


def _number(value: float) -> str:
    return f"{value:d}" if isinstance(value, int) else repr(float(value))


_LITERALS: Final[Mapping[type, Callable[[Any], str]]] = {
    type(None): lambda _: "NULL", bytes: lambda data: f"X'{data.hex()}'", str: _plain, list: _several,
    int: int.__repr__, float: float.__repr__}
