"""The modes: what becomes of requests of one session that overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar, get_args

from .errors import ConfigurationError, LockLost, ReadOnlySession, SessionConflict
from .store.lease import Lease
from .store.records import can_merge, demand_merging

Concurrency = Literal["merge", "lock", "strict", "read-only"]

_Result = TypeVar("_Result")

MODES: Final = get_args(Concurrency)

_NOTICES: Final = ("lock", "strict")
"""Those in which a request notices that another one changed the session, or keeps it from that."""


def known_mode(concurrency: Any, exchange: Any = None) -> Concurrency:
    """Return `concurrency`, or what it returns for a request; `ConfigurationError` if there is no such mode."""
    found: Concurrency = concurrency(exchange) if callable(concurrency) else concurrency
    if found not in MODES:
        raise ConfigurationError(f"concurrency must be one of {', '.join(MODES)}, not {found!r}")
    return found


def mode_of(concurrency: Any, store: Any, exchange: Any = None) -> Concurrency:
    """Return the mode of a request; `ConfigurationError` if it cannot be had, at all or with this store."""
    mode: Concurrency = concurrency if concurrency in MODES else known_mode(concurrency, exchange)
    if mode in _NOTICES and not can_merge(type(store)):
        demand_merging(store, f"concurrency={mode!r}")
    return mode


def written(write: Callable[..., _Result], mode: Concurrency, lease: Lease | None) -> _Result:
    """Return what `write` does, which is called with ``merge`` as the mode demands."""
    if mode == "merge":
        return write(merge=True)
    if mode == "read-only":
        raise ReadOnlySession('a request with concurrency="read-only" is to write; nothing was written')
    try:
        return write(merge=False)
    except SessionConflict:
        if mode == "strict":
            raise
    if lease is not None and not lease.is_held():
        raise LockLost("this request held its session's lock longer than the lease; nothing was written")
    return write(merge=True)  # somebody wrote without asking for the lock
