"""session2 0.6 and session3, and Quixote's own sessions: objects with attributes, pickled whole."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Any, Final

from ..source import Former, Skipped, Source, attempt, place
from ..unpickle import Unpickler, Unreadable
from .files import names_in, read_file

is_id: Final = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII).fullmatch
"""Ids are random bytes, 8 or 16, in hex or in base64 as for URLs."""

_OWN: Final = frozenset({"id", "_creation_time", "_access_time"})
"""What is kept beside the state by now."""

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
    if isinstance(state.get("_form_tokens"), list):
        state["_form_tokens"] = state["_form_tokens"][-_TOKENS:]
    created = _time(attributes.get("_creation_time"))
    accessed = _time(attributes.get("_access_time")) or changed
    return Former(id, state, created or accessed, max(created or 0.0, accessed or 0.0) or None)


def _time(value: Any) -> float | None:
    """Return a time if it is one: a patched session2 0.6 has zeros."""
    is_time = isinstance(value, (int, float)) and math.isfinite(value) and value > 0
    return float(value) if is_time else None


class Directory(Source):
    """A directory of session2 0.6 or session3, in which each file is a session and its name the id."""

    def __init__(self, place: str, unpickler: Unpickler) -> None:
        self._folder = os.path.abspath(place)
        self._unpickler = unpickler

    def scan(self) -> Iterator[Former | Skipped]:
        for name in names_in(self._folder):
            found = self.find(name) if is_id(name) else Skipped("a file", "its name is no id")
            if found is not None:
                yield found

    def find(self, id: str) -> Former | Skipped | None:
        if not is_id(id):
            return None
        try:
            found = read_file(os.path.join(self._folder, id))
        except Unreadable as error:
            return Skipped(place(id), str(error))
        if found is None:
            return None
        data, changed = found
        return attempt(id, lambda: former(id, self._unpickler.attributes(data), changed))
