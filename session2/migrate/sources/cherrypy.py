"""CherryPy's own sessions in files: each a pickle of the items and of when they expire."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from ..known import Unreadable
from ..source import Former, Skipped, Source, mapping
from ..unpickle import Unpickler
from .files import in_file, named, names_in

_PREFIX: Final = "session-"

_is_id: Final = re.compile(r"[0-9a-f]{40}").fullmatch


class Files(Source):
    """A ``storage_path`` of CherryPy's `FileSession`.

    :param user_key: the item that tells who is logged in; that of CherryPy's ``session_auth`` is ``username``.
    """

    def __init__(self, place: str, unpickler: Unpickler, *, user_key: str = "") -> None:
        self._folder = os.path.abspath(place)
        self._unpickler = unpickler
        self._user_key = user_key

    def scan(self) -> Iterator[Former | Skipped]:
        names = (name for name in names_in(self._folder) if name.startswith(_PREFIX) and not name.endswith(".lock"))
        return named((name.removeprefix(_PREFIX) for name in names), _is_id, self.find)

    def find(self, id: str) -> Former | Skipped | None:
        return in_file(id, self._folder, _PREFIX + id, partial(self._former, id)) if _is_id(id) else None

    def _former(self, id: str, data: bytes, changed: float) -> Former:
        """Return a session; each request of it wrote its file, so that is when it was used."""
        found = self._unpickler.loads(data)
        if not isinstance(found, tuple) or len(found) != 2:
            raise Unreadable("it is no session of CherryPy")
        items, expires = found
        return mapping(id, items, self._user_key, accessed=changed, expires=_seconds(expires))


def _seconds(time: Any) -> float:
    """Return a time, which CherryPy keeps in the local time of its machine."""
    if not isinstance(time, datetime.datetime):
        raise Unreadable("it is no session of CherryPy")
    try:
        return time.timestamp()
    except (OverflowError, OSError, ValueError):
        raise Unreadable("it ends at no time that can be told") from None
