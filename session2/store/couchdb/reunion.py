"""What was stored at both sides of a cut: of a cluster, or between servers that replicate to each other.

CouchDB keeps both revisions, shows one of them everywhere, and tells of the others.  Whoever sees that first makes one
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from ... import traces
from ...errors import SerializationError, StoreUnavailable
from ...record import Record
from ..versions import new_version
from .documents import Document, document_in, document_of, key_of, record_of, texts
from .server import Server

Merge = Callable[[str, "bytes | None", bytes, bytes], bytes]
"""Given a key, the data both sides began with (if it can still be had) and those of both, returns the data of one."""


class Reunion:
    """Makes one document of several.

    An end wins over everything else, so that no logout is undone.  Sessions are merged, if they are the same user's.
    What cannot be made one stays as it is, with its ``_conflicts``: then the revision counts that CouchDB shows.
    """

    def __init__(self, server: Server, merge: Merge) -> None:
        self._server, self._merge = server, merge

    def __call__(self, database: str, shown: Document) -> Document | None:
        """Store the one and delete the others; return what is there now, None if others do the same at this moment."""
        revs = [shown["_rev"], *shown["_conflicts"]]
        documents = [document for rev in revs if (document := self._revision(database, shown, rev)) is not None]
        if len(documents) < len(revs):
            return None
        try:
            one = self._one(database, documents)
        except (ValueError, SerializationError):
            return shown
        one["_rev"] = shown["_rev"]
        answer = self._server.ask("PUT", f"{database}/{shown['_id']}", one)
        if answer.status == 409:
            return None
        if not answer.is_good:
            raise StoreUnavailable(self._server.explain(answer, "a merge"))
        one["_rev"] = answer.field("rev", str)
        for rev in revs[1:]:  # not before: what is in them must be stored
            self._server.ask("DELETE", f"{database}/{shown['_id']}", rev=rev)
        return one

    def _one(self, database: str, documents: Sequence[Document]) -> Document:
        key, records = key_of(documents[0]), [record_of(database, document) for document in documents]
        ends = sorted((record for record in records if traces.is_trace(record)), key=traces.is_emptied)
        if ends:
            record = ends[0]
        elif traces.is_lock(key):
            record = records[0]
        else:
            record = self._merged(database, key, documents, records)
        versions = [text for document in documents for text in document["versions"]]
        return {**document_of(key, record, 0, ()), "versions": [*texts((new_version(),)), *versions][:16]}

    def _merged(self, database: str, key: str, documents: Sequence[Document], records: Sequence[Record]) -> Record:
        if len({record.user for record in records}) > 1:
            raise ValueError("sessions of two users are not mixed")
        data = records[0].data
        for document, record in zip(documents[1:], records[1:], strict=True):
            data = self._merge(key, self._ancestor(database, documents[0], document), data, record.data)
        return reduce(_later, records)._replace(data=data)

    def _ancestor(self, database: str, one: Document, other: Document) -> bytes | None:
        """Return the data that both were made of, None if CouchDB has cleared it away."""
        start, ids = _history(one)
        others = set(_history(other)[1])
        common = next((f"{start - number}-{id}" for number, id in enumerate(ids) if id in others), None)
        document = None if common is None else self._revision(database, one, common)
        try:
            return None if document is None else record_of(database, document).data
        except ValueError:
            return None

    def _revision(self, database: str, document: Document, rev: str) -> dict[str, Any] | None:
        answer = self._server.ask("GET", f"{database}/{document['_id']}", rev=rev, revs=True)
        found = answer.status == 200 and not answer.body.get("_deleted")
        return document_in(answer.body) if found else None


def _history(document: Document) -> tuple[int, list[str]]:
    """Return the number of a document's last revision, and what those are called that it has had, the newest first."""
    history = document.get("_revisions")
    start, ids = (history.get("start"), history.get("ids")) if isinstance(history, dict) else (None, None)
    if not isinstance(start, int) or not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
        raise StoreUnavailable("what answers for CouchDB left out what a document was made of")
    return start, ids


def _later(one: Record, other: Record) -> Record:
    """Return the record with the times of whichever was used last."""
    used = max(one, other, key=lambda record: record.accessed)
    return one._replace(modified=max(one.modified, other.modified), accessed=used.accessed, expires=used.expires)
