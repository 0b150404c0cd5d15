"""A record as a document of CouchDB, and back."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ... import traces
from ...errors import StoreUnavailable
from ...record import Record
from ..servers.once import REMEMBERED, Standing

Document: TypeAlias = dict[str, Any]
"""As the server sends it."""

_ID: Final = "s:"
"""What the id of a document begins with: CouchDB keeps those for itself that begin with ``_``, as a key may."""

FIRST: Final = _ID
LAST: Final = _ID + "~"


@dataclass(frozen=True)
class Revision:
    """The version of a record: what was written, by its number, and where it was last seen.

    A touch makes a new revision of the document and leaves the number as it is; so only the number is compared.
    """

    number: int
    before: tuple[int, ...] = field(compare=False, repr=False)
    """The numbers before it, the newest first."""
    database: str = field(compare=False, repr=False)
    rev: str | None = field(compare=False, repr=False)
    """Of the document; None if it is not known."""
    expires: float | None = field(compare=False, repr=False)

    def rev_if_live(self, now: float) -> str | None:
        """Return the revision of the document, None if it is not known to be live."""
        return self.rev if self.expires is None or self.expires > now else None


def document_in(body: Any) -> Document:
    """Return a document that was sent; `StoreUnavailable` if it lacks what CouchDB gives every one."""
    conflicts = body.get("_conflicts", []) if isinstance(body, dict) else None
    if not isinstance(conflicts, list) or not all(
            isinstance(name, str) for name in (body.get("_id"), body.get("_rev"), *conflicts)):
        raise StoreUnavailable("what answers for CouchDB sent no document where one was expected")
    return dict(body)


def document_id(key: str) -> str:
    """Return the id of the document of this key."""
    return _ID + key


def key_of(document: Document) -> str:
    """Return the key that a document is filed under."""
    return str(document["_id"]).removeprefix(_ID)


def document_of(key: str, record: Record, number: int, before: tuple[int, ...]) -> Document:
    """Return what to store; the number makes every revision another one, for CouchDB calculates them of the content."""
    return {"_id": document_id(key), "data": b64encode(record.data).decode("ascii"), "created": record.created,
            "modified": record.modified, "accessed": record.accessed, "expires": record.expires,
            "user": None if record.user is None else user_text(record.user),
            "session": traces.is_session(key, record), "versions": texts((number, *before))}


def user_text(user: str) -> str:
    """Return how a user is named in documents: letters that no collation takes for others."""
    return user.encode("utf-8", "surrogatepass").hex()


def record_of(database: str, document: Document) -> Record:
    """Return the record in a document; `ValueError` if it is damaged."""
    try:
        user, expires = document["user"], document["expires"]
        numbers = _numbers(document)
        end = None if expires is None else _time(expires)
        version = Revision(numbers[0], numbers[1:], database, str(document["_rev"]), end)
        return Record(b64decode(document["data"], validate=True), _time(document["created"]),
                      _time(document["modified"]), _time(document["accessed"]), end,
                      None if user is None else bytes.fromhex(user).decode("utf-8", "surrogatepass"), version)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{type(error).__name__} in its fields") from None


def standing(document: Document, now: float) -> Standing:
    """Return what a document tells of the versions it has had."""
    try:
        numbers, expires = _numbers(document), document["expires"]
        return Standing(numbers, len(numbers) < REMEMBERED, expires is None or _time(expires) > now)
    except (KeyError, TypeError, ValueError, IndexError):
        return Standing((-1,), False, True)


def is_expired(document: Document, now: float) -> bool:
    """Tell whether a document's time is over; what is damaged stays."""
    return not standing(document, now).is_live


def texts(numbers: tuple[int, ...]) -> list[str]:
    """Return version numbers as documents hold them: JavaScript could not count so far."""
    return [f"{number:x}" for number in numbers[:REMEMBERED]]


def _numbers(document: Document) -> tuple[int, ...]:
    return tuple(int(text, 16) for text in document["versions"])


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("a time is no number")
    return float(value)
