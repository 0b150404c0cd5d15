"""Sessions that another system has begun: the ids they are filed under, and notes that they are or were here."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import Final

from . import tokens, traces
from .errors import Conflict
from .record import Record
from .store.base import SessionStore

_NOTED_FOR: Final = 400 * 86400.0
"""Seconds for which it is noted at least that a session was here: browsers keep no cookie for longer (RFC 6265bis)."""

_COMES_WITHIN: Final = 60.0
"""Seconds in which a session is here that is about to come, or nobody brings it any more; no trace is gone sooner."""

_COMING: Final = b"coming\n"

_PURPOSE: Final = b"session2 former\0"


def adopted_id(former_id: str) -> str:
    """Return the id under which a session is filed that another system knows by `former_id`.

    Of one shape whatever the other one is, and not that of ours: it leads nowhere in our cookie, only a former cookie
    leads there.  So whoever has seen the ids in the other system's store still needs the signature that it asks for.
    """
    digest = hashlib.sha256(_PURPOSE + former_id.encode("utf-8", "surrogatepass")).digest()
    return tokens.ADOPTED + base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def note_adopted(store: SessionStore, id: str, expires: float | None = None, is_coming: bool = False) -> None:
    """Note that the session of an adopted id is or was here, so that it is not brought again when it has ended.

    Traces do not live so long, and ids of our own need none: what has ended here is nowhere else.

    :param expires: when the session ends by itself.
    :param is_coming: note that it is about to be stored: who does that may be killed before the other note.
    """
    key, now = _note_key(id), store.clock()
    found = store.read(key)
    if found is not None and (is_coming or not found.data.endswith(_COMING)):
        return
    note = traces.taken() + (_COMING if is_coming else b"")
    with suppress(Conflict):
        store.write(key, Record(note, now, now, now, max(expires or 0.0, now + _NOTED_FOR)), found and found.version)


def is_noted(store: SessionStore, id: str) -> bool:
    """Tell whether the session of an adopted id is or was here."""
    note = store.read(_note_key(id))
    return note is not None and (not note.data.endswith(_COMING) or note.created <= store.clock() - _COMES_WITHIN)


def _note_key(id: str) -> str:
    return tokens.hash_id(f"taken {id}")
