"""Finding sessions in a store, whatever is missing, and telling how many there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import typer

from .. import traces
from ..errors import SerializationError, StoreMissing
from ..record import Record
from ..store.base import SessionStore
from .printing import warn

_KEY: Final = re.compile(r"(lock-)?[A-Za-z0-9_-]{43,64}", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{8,69}", re.ASCII)


class Stats(NamedTuple):
    """What `session2 stats` tells."""

    sessions: int
    users: int
    oldest: float | None
    next_to_expire: float | None
    bytes: int


def is_there(store: SessionStore) -> bool:
    """Tell whether the store has been set up; it is not by asking."""
    try:
        store.read("0" * 64)
    except StoreMissing:
        return False
    return True


def sessions(store: SessionStore, user: str | None) -> Iterator[tuple[str, Record]]:
    """Iterate over the records of all sessions, or over those of one user."""
    records = store.scan() if user is None else store.records_of(user)
    return ((key, record) for key, record in records if traces.is_session(key, record))


def find(store: SessionStore, text: str) -> tuple[str, Record]:
    """Return the one session whose key is, or begins with, `text`; exits if there is none or more than one."""
    if not _PREFIX.fullmatch(text):
        raise typer.BadParameter("a key is given by 8 or more of its characters")
    record = store.read(text) if _KEY.fullmatch(text) else None
    if record is not None:
        return text, record
    found = [(key, record) for key, record in sessions(store, None) if key.startswith(text)]
    if len(found) == 1:
        return found[0]
    warn(f"{len(found)} sessions have a key that begins so; give more of it" if found  # it may be an id: not repeated
         else f"there is no session with a key that begins with {text:.8}; session2 list shows them")
    raise typer.Exit(1)


def state_of(store: SessionStore, key: str, record: Record) -> tuple[dict[str, Any], str | None]:
    """Return what the session holds, or why that cannot be told: its classes or secrets may be the application's."""
    serializer = store.serializer
    try:
        return serializer.loads(serializer.open(record.data, key)), None
    except SerializationError as error:
        return {}, str(error)


def counted(records: Iterable[tuple[str, Record]]) -> Stats:
    """Return how many sessions there are, of how many users, and so on."""
    count = size = 0
    users: set[str] = set()
    oldest = expires = None
    for _, record in records:
        count, size = count + 1, size + len(record.data)
        oldest = record.created if oldest is None else min(oldest, record.created)
        if record.expires is not None:
            expires = record.expires if expires is None else min(expires, record.expires)
        if record.user is not None:
            users.add(record.user)
    return Stats(count, len(users), oldest, expires, size)
