"""session2 0.6 and session3, and Quixote's own sessions: objects with attributes, pickled whole."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Final

from ..known import Unreadable
from ..source import Former, Skipped, Source, attempt, place
from ..unpickle import Unpickler
from . import shelves
from .files import named, names_in, read_file
from .tables import Table, as_bytes
from .texts import moment

is_id: Final = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII).fullmatch
"""Ids are random bytes, 8 or 16, in hex or in base64 as for URLs."""

_OWN: Final = frozenset({"id", "_creation_time", "_access_time",
                         "_issued", "_left", "_lock_name", "_login_time", "_logins", "_spent_tokens", "_tokens_of"})
"""What is kept beside the state by now, and what a session notes about itself now and did not then."""

_TOKENS: Final = 16
"""How many tokens of forms a session has now."""


def former(id: str, attributes: dict[str, Any], changed: float | None = None) -> Former:
    """Return a session given its attributes; `Unreadable` if these are not those of a session.

    :param changed: when it was stored, for those that do not know when they were used.
    """
    if not all(isinstance(name, str) for name in attributes) or "id" not in attributes:
        raise Unreadable("it is no session")
    if attributes["id"] != id:
        raise Unreadable("it is the session of another id")
    state = {name: value for name, value in attributes.items() if name not in _OWN and value is not None}
    tokens = state.pop("_form_tokens", None)
    if isinstance(tokens, list) and all(isinstance(token, str) for token in tokens):
        state["_form_tokens"] = tokens[-_TOKENS:]
    created = moment(attributes.get("_creation_time"))
    accessed = moment(attributes.get("_access_time")) or changed
    return Former(id, state, created or accessed, max(created or 0.0, accessed or 0.0) or None)


class Objects(Source):
    """A system whose sessions are objects: what is common to those below."""

    def __init__(self, place: str, unpickler: Unpickler) -> None:
        self._place = place if "://" in place else os.path.abspath(place)
        self._unpickler = unpickler

    def find(self, id: str) -> Former | Skipped | None:
        return self._find(id) if is_id(id) else None

    @abstractmethod
    def _find(self, id: str) -> Former | Skipped | None:
        """Return what is stored under what may be an id."""

    def _former(self, id: str, data: bytes, changed: float | None = None) -> Former | Skipped:
        if not is_id(id):
            return Skipped("an entry", "it is filed under something else than an id")
        return attempt(id, lambda: former(id, self._unpickler.attributes(data), changed))


class Directory(Objects):
    """A directory in which each file is a session, and its name the id."""

    def scan(self) -> Iterator[Former | Skipped]:
        return named(names_in(self._place), is_id, self._find)

    def _find(self, id: str) -> Former | Skipped | None:
        try:
            found = read_file(self._place, id)
        except Unreadable as error:
            return Skipped(place(id), str(error))
        return None if found is None else self._former(id, *found)


class Shelf(Objects):
    """A shelf: also what Quixote's own manager writes if its mapping is one."""

    def scan(self) -> Iterator[Former | Skipped]:
        with shelves.opened(self._place) as shelf:
            for key in list(shelf.keys()):
                if key in shelf:
                    yield self._former(key.decode("utf-8", "replace"), shelf[key])

    def _find(self, id: str) -> Former | Skipped | None:
        with shelves.opened(self._place) as shelf:
            key = id.encode()
            return self._former(id, shelf[key]) if key in shelf else None


class Rows(Objects):
    """A table of MySQL or PostgreSQL, with the columns ``id`` and ``pickle``."""

    def __init__(self, place: str, unpickler: Unpickler, *, table: str = "sessions") -> None:
        super().__init__(place, unpickler)
        self._table = Table(place, table, "id", ["pickle"])

    def scan(self) -> Iterator[Former | Skipped]:
        return (self._former(id, as_bytes(data)) for id, data in self._table.rows())

    def _find(self, id: str) -> Former | Skipped | None:
        row = self._table.row(id)
        return None if row is None else self._former(id, as_bytes(row[1]))
