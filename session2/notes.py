"""What a session notes about itself, among its state: where from, since when, under which lock."""

from __future__ import annotations

from typing import Any, Final

from . import tokens
from .session import Session, ties, ties_of
from .store.lease import Lease

_OF_AN_ID: Final = ("_login_time", "_logins", "_issued", "_lock_name", "_left")


def begin(session: Session, now: float, expires: float | None) -> None:
    """Note when a new session begins, and when it will end."""
    bound = ties(session)
    bound.created = bound.accessed = now
    bound.expires = expires


def next_id(session: Session) -> str:
    """Return the id a session is to be stored under: the one that was reserved for it, or a new one."""
    bound = ties(session)
    reserved = bound.origin is None or bound.id != bound.origin.id
    return bound.id if reserved and bound.id is not None and tokens.is_id(bound.id) else tokens.new_id()


def note_new_id(session: Session, now: float, user_changed: bool, grace: float, lock: Lease | None) -> dict[str, Any]:
    """Note that a session gets another id now, which is a login or logout if its user has changed.

    Returns what `unnote` needs if nothing comes of it.

    :param grace: seconds for which the id it has leads to the new one.
    :param lock: the one it has from now on; None: the one it had before.
    """
    state = vars(session)
    before: dict[str, Any] = {name: state[name] for name in _OF_AN_ID if name in state}
    if user_changed:
        state["_logins"] = state.get("_logins", 0) + 1
        state["_login_time"] = None if session.user is None and session.user_key() is None else now
    key = ties(session).key
    if key is not None:
        state.update(_issued=now, _lock_name=lock.key if lock else lock_name(session),
                     _left=[key, now + grace] if grace else None)
    return before


def unnote(session: Session, before: dict[str, Any]) -> None:
    """Take back what `note_new_id` noted; all keeps its order, or the session would look like one that was changed."""
    state = vars(session)
    for name in _OF_AN_ID:
        if name not in before:
            state.pop(name, None)
    state.update(before)


def issued_at(session: Session) -> float:
    """Return when the session got the id it has."""
    state = session.__dict__
    issued: float | None = state["_issued"] if "_issued" in state else None  # noqa: SIM401 (no call for most)
    return ties_of(session).created if issued is None else issued


def lock_name(session: Session) -> str | None:
    """Return what the lock of a session is called, under whatever id; None if nothing is stored of it."""
    origin = ties_of(session).origin
    key = None if origin is None else origin.key
    if "_lock_name" not in session.__dict__:
        return key
    name = session.__dict__["_lock_name"]
    is_one = tokens.is_key(name) or (isinstance(name, str) and tokens.names_a_session(name))
    return name if is_one else key  # what is stored may be anything


def has_left(session: Session, now: float) -> bool:
    """Tell whether there is a trace of the last renewal to be removed: its grace is over."""
    left = session.__dict__["_left"] if "_left" in session.__dict__ else None  # noqa: SIM401 (no call for most)
    return left is not None and left[1] <= now


def left_behind(session: Session, now: float) -> str | None:
    """Return the key of the trace that the last renewal of the id left, once, when its grace is over."""
    if not has_left(session, now):
        return None
    key: str = vars(session).pop("_left")[0]
    return key
