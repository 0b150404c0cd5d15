"""Documents of a CouchDB store: found in whatever month, stored and deleted by their revisions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ...errors import StoreUnavailable
from ...patience import attempts
from .databases import DESIGN, Databases
from .documents import FIRST, LAST, Document, document_id, document_in
from .server import Answer, Server

log = logging.getLogger("session2")

_PAGE: Final = 100
"""Documents fetched at once by an iteration: what bounds its memory."""

_PATIENCE: Final = 10.0

_VIEW_PATIENCE: Final = 5.0
"""Seconds to wait for CouchDB to bring a view up to date; then all documents are looked at instead."""

Reunite = Callable[[str, Document], "Document | None"]
"""Given a database and a document of which there are several, returns what is there now, or None: look again."""


class Documents:
    """Knows no records and no clock.

    :param reunite: makes one of what was stored at both sides of a cut.
    """

    def __init__(self, server: Server, databases: Databases, reunite: Reunite) -> None:
        self._server, self._databases, self._reunite = server, databases, reunite

    # -- one by one ------------------------------------------------------------------------------------------------

    def find(self, key: str, now: float) -> tuple[str, Document] | None:
        """Return the document of a key with the database it is in."""
        for database in self._databases.holding(key, now):
            document = self.fetch(database, key)
            if document is not None:
                self._databases.note(key, database)
                return database, document
        return None

    def fetch(self, database: str, key: str) -> Document | None:
        """Return the document of a key in this database; with ``_conflicts``, if there are several in its place."""
        for _ in attempts(_PATIENCE):
            answer = self._server.ask("GET", f"{database}/{document_id(key)}", conflicts=True)
            if answer.status == 404:
                return None
            document = document_in(self._checked(answer, "a look at a session").body)
            if document["_id"] != document_id(key):
                raise StoreUnavailable("CouchDB answered another question; try again")
            one = self._reunite(database, document) if "_conflicts" in document else document
            if one is not None:
                return one
        raise StoreUnavailable("others kept merging what was stored of a session in two places; try again")

    def put(self, database: str, document: Document, is_repeatable: bool = False) -> bool:
        """Store a document over its revision, or where none is; tell whether it was done, and note the new revision.

        :param is_repeatable: whether to try again by itself after a connection broke; else that is `AnswerLost`.
        """
        send = self._server.ask if is_repeatable else self._server.change
        sent = {name: value for name, value in document.items() if name != "_conflicts"}
        answer = send("PUT", f"{database}/{document['_id']}", sent)
        if answer.status == 409:
            return False
        if answer.status == 404:
            self._databases.gone(database)
            return False
        document["_rev"] = self._checked(answer, "a save").field("rev", str)
        return True

    def delete(self, database: str, key: str, rev: str, is_repeatable: bool = True) -> bool:
        """Delete a document if this is its revision; tell whether it was done."""
        send = self._server.ask if is_repeatable else self._server.change
        answer = send("DELETE", f"{database}/{document_id(key)}", rev=rev)
        if answer.status not in (404, 409):
            self._checked(answer, "a removal")
        return answer.is_good

    # -- many ------------------------------------------------------------------------------------------------------

    def all(self, database: str) -> Iterator[Document]:
        """Go through the documents of a database, a page at a time."""
        start, more = FIRST, True
        while more:
            answer = self._server.ask("GET", f"{database}/_all_docs", include_docs=True, conflicts=True,
                                      startkey=start, endkey=LAST, limit=_PAGE + 1)
            if answer.status == 404:
                return
            rows = self._rows(answer, "a list")
            # The last one of the page before may have been deleted meanwhile, so it cannot be skipped by number.
            yield from (document_in(row["doc"]) for row in rows if row["id"] != start and row.get("doc"))
            more = len(rows) > _PAGE
            start = rows[-1]["id"] if rows else start

    def of_user(self, database: str, user: str) -> Iterator[Document]:
        """Go through the documents of a user, named as in documents."""
        rows = self._viewed(database, "by_user", key=user, include_docs=True, conflicts=True)
        documents = self.all(database) if rows is None else (document_in(row["doc"]) for row in rows if row.get("doc"))
        return (document for document in documents if document.get("user") == user)

    def over(self, database: str, view: str, **query: Any) -> dict[str, str | None] | None:
        """Return the ids that a view lists, and the revision of each, None if it has several; None as `_viewed`."""
        rows = self._viewed(database, view, **query)
        found = None if rows is None else {row["id"]: row.get("value") for row in rows}
        if found and not all(rev is None or isinstance(rev, str) for rev in found.values()):
            raise StoreUnavailable("CouchDB did not answer a view in full; try again")
        return found

    def _viewed(self, database: str, view: str, **query: Any) -> list[Mapping[str, Any]] | None:
        """Return the rows of a view, None if it cannot be had, for it takes too long to bring it up to date."""
        try:
            answer = self._server.ask("GET", f"{database}/{DESIGN}/_view/{view}", timeout=_VIEW_PATIENCE, **query)
            return self._rows(answer, "a view") if answer.status == 200 else None
        except StoreUnavailable as error:
            log.info("all documents of a month are looked at, for its view cannot be had yet: %s", error)
            return None

    def delete_all(self, database: str, revisions: Mapping[str, str]) -> int:
        """Delete documents, given by their ids, each if this is its revision; return how many."""
        if not revisions:
            return 0
        documents = [{"_id": id, "_rev": rev, "_deleted": True} for id, rev in revisions.items()]
        answer = self._server.ask("POST", f"{database}/_bulk_docs", {"docs": documents})
        if answer.status == 404:
            return 0
        if not answer.is_good or not isinstance(answer.body, list):
            raise StoreUnavailable(self._server.explain(answer, "a removal"))
        return sum(isinstance(row, dict) and "error" not in row for row in answer.body)

    def _rows(self, answer: Answer, what: str) -> list[Mapping[str, Any]]:
        """Return the rows of a list, all of them: an error may stand in place of some that a node did not send."""
        rows = self._checked(answer, what).field("rows", list)
        if not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
            raise StoreUnavailable(f"CouchDB did not answer {what} in full; try again")
        return rows

    def _checked(self, answer: Answer, what: str) -> Answer:
        if not answer.is_good:
            raise StoreUnavailable(self._server.explain(answer, what))
        return answer
