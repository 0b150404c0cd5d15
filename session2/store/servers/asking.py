"""When a question is asked again, and when it is not known what became of it: one rule for all servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import StoreUnavailable
from .once import AnswerLost, ServerSilent
from .results import Connections, Fault, StatementFailed

_T = TypeVar("_T")


def ask_once(connections: Connections, exchange: Callable[[Any], _T]) -> _T:
    """Return the answer to a change; `AnswerLost` or `ServerSilent` if it may have been carried out nevertheless."""
    try:
        return connections.use(exchange)
    except StatementFailed as failure:
        raise _lost(connections, failure) from failure


def ask_twice(connections: Connections, exchange: Callable[[Any], _T]) -> _T:
    """Return the answer to what changes nothing, or may be done twice; ask again if the connection broke."""
    try:
        return connections.use(exchange)
    except StatementFailed as failure:
        lost = _lost(connections, failure)
        if not isinstance(lost, AnswerLost):
            raise lost from failure
    try:
        return connections.use(exchange)
    except StatementFailed as failure:
        raise StoreUnavailable(str(_lost(connections, failure))) from failure


def _lost(connections: Connections, failure: StatementFailed) -> StoreUnavailable:
    """Return the error of a question without an answer.

    Whatever happened to this connection has most likely happened to all.
    """
    connections.clear()
    kind = ServerSilent if failure.fault is Fault.SILENT else AnswerLost
    return kind(str(failure))
