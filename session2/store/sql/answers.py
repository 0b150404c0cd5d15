"""Whether an answer is one to the question that was asked.

The first line of defence is that a connection is closed unless its last exchange was completed.  This is the second:
what mixes connections up elsewhere, such as a pooler or a fork, must not hand out the session of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ..servers.results import Fault, Result, StatementFailed
from .rows import COLUMNS, text


def check_answer(statement: str, result: Result, arguments: Mapping[str, Any]) -> None:
    """Raise `StatementFailed` if the result cannot be that of the statement."""
    check = _CHECKS.get(statement, _one_row_at_most if "key" in arguments else _anything)
    try:
        fits = check(result, arguments)
    except (AttributeError, IndexError, TypeError, ValueError):  # a number where text is to be, for one
        fits = False
    if not fits:
        raise mixed_up()


def mixed_up() -> StatementFailed:
    """Return the error to raise for an answer to another question."""
    return StatementFailed(Fault.MIXED_UP, "the answer belongs to another question; the connection was closed")


def _is_the_record(result: Result, arguments: Mapping[str, Any]) -> bool:
    rows = result.rows
    return not rows or (len(rows) == 1 and len(rows[0]) == COLUMNS and rows[0][0] == arguments["key"].encode())


def _is_of_the_key(result: Result, arguments: Mapping[str, Any]) -> bool:
    rows = result.rows
    return not rows or (len(rows) == 1 and rows[0][0] == arguments["key"].encode())


def _is_a_page(result: Result, arguments: Mapping[str, Any]) -> bool:
    return all(text(row[0]) > arguments["after"] for row in result.rows)


def _is_a_page_of_the_user(result: Result, arguments: Mapping[str, Any]) -> bool:
    return _is_a_page(result, arguments) and all(bytes(row[_USER]) == arguments["owner"] for row in result.rows)


def _one_row_at_most(result: Result, arguments: Mapping[str, Any]) -> bool:
    return result.changed <= 1 and not result.rows


def _anything(result: Result, arguments: Mapping[str, Any]) -> bool:
    return True


_USER: Final = 6
"""The place of the user in a row of a page."""

_CHECKS: Final[dict[str, Callable[[Result, Mapping[str, Any]], bool]]] = {
    "read": _is_the_record, "standing": _is_of_the_key, "stands": _is_of_the_key,
    "page": _is_a_page, "page_of_user": _is_a_page_of_the_user}
