"""The databases of a CouchDB store: one for locks, which also says what others there are, and one for each month.

CouchDB keeps a trace of every document that was ever deleted; only to delete its database takes less room.  So what is
new goes into the database of its month, and stays there.  A month that is over is deleted when nothing is in it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from ...errors import ConfigurationError, StoreMissing, StoreUnavailable
from ...patience import attempts
from ...traces import is_lock
from .documents import document_in
from .server import Answer, Server

log = logging.getLogger("session2")

_CATALOGUE: Final = "session2"
"""The id of the document that lists the months."""

_PATIENCE: Final = 10.0
"""Seconds to try for, while others change the same."""

DESIGN: Final = "_design/session2"

_VIEWS: Final = {
    "by_user": {"map": "function (doc) { if (doc.versions && doc.user !== null) emit(doc.user, null); }"},
    "by_expiry": {"map": "function (doc) { if (doc.versions && typeof doc.expires === 'number') "
                         "emit(doc.expires, doc._conflicts ? null : doc._rev); }"},
    "by_use": {"map": "function (doc) { if (doc.versions && doc.session && typeof doc.accessed === 'number') "
                      "emit(doc.accessed, doc._conflicts ? null : doc._rev); }"},
}
"""The last two tell the revision, or nothing where there are several: those are to be made one first."""

_HINTS: Final = 10_000
"""Of how many keys a process remembers in which month they are."""


class Databases:
    """Knows where a key may be.  What it remembers saves requests; it is looked up again before anything is missing."""

    def __init__(self, server: Server, prefix: str) -> None:
        self._server = server
        self.base = prefix
        self._months: tuple[str, ...] | None = None
        self._hints: dict[str, str] = {}
        self._refused: str | None = None
        """The month that this user may not make."""

    # -- which there are -------------------------------------------------------------------------------------------

    def holding(self, key: str, now: float) -> Iterator[str]:
        """Yield the databases that may hold a key, the likely ones first."""
        if is_lock(key):
            yield self.base
            return
        hint = self._hints.get(key)
        seen = {hint}
        if hint is not None:
            yield hint
        for months in (self.known, self.all):
            for month in months(now):
                if month not in seen:
                    seen.add(month)
                    yield month

    def known(self, now: float) -> tuple[str, ...]:
        """Return the months that were there when they were last looked up, the present one first."""
        months = self._months if self._months is not None else self._look_up()
        present = self._month(now)
        return (*reversed([month for month in months if month <= present]), *[m for m in months if m > present])

    def all(self, now: float) -> tuple[str, ...]:
        """Return the months there are, the present one first."""
        self._look_up()
        return self.known(now)

    def note(self, key: str, database: str) -> None:
        """Remember where a key is."""
        if self._hints.get(key) != database and not is_lock(key):
            if len(self._hints) >= _HINTS:
                self._hints.clear()
            self._hints[key] = database

    def for_new(self, key: str, now: float) -> str:
        """Return the database for a record that is new; make it if it is the first of its month.

        Whoever may not make databases takes the newest there is, until somebody who may has made one.
        """
        if is_lock(key):
            return self.base
        present = self._month(now)
        if present in self.known(now) or (present != self._refused and self._made(present)):
            return present
        if not self.known(now):
            raise StoreUnavailable(f"there is no database {present!r}, and this user of CouchDB may not make it: run "
                                   "session2 setup as an administrator")
        return max(self.known(now))

    def gone(self, database: str) -> None:
        """Notice that a database is not there: look up which are, and make it if it is missing only from the server."""
        if database in self._look_up():
            self._make(database)

    def _month(self, now: float) -> str:
        """Return the database for the month of a time."""
        return f"{self.base}-{time.strftime('%Y-%m', time.gmtime(now))}"

    def _look_up(self) -> tuple[str, ...]:
        document = self._catalogue()
        found = set(document["months"])
        for rev in document.get("_conflicts", ()):  # noted on both sides of a cut
            answer = self._server.ask("GET", f"{self.base}/{_CATALOGUE}", rev=rev)
            found.update(() if answer.status == 404 else _months_in(answer))
        self._months = tuple(sorted(month for month in found if self._is_month(month)))
        return self._months

    def _catalogue(self) -> dict[str, Any]:
        answer = self._server.ask("GET", f"{self.base}/{_CATALOGUE}", conflicts=True)
        if answer.status == 404:
            raise StoreMissing(f"there is no store in the database {self.base!r} of CouchDB")
        if answer.status != 200:
            raise StoreUnavailable(self._server.explain(answer, f"a look into {self.base!r}"))
        return {**document_in(answer.body), "months": _months_in(answer)}

    def _is_month(self, name: str) -> bool:
        """Tell whether it is the name of a month of this store; others are not believed."""
        return re.fullmatch(r"-\d{4,}-\d\d", name.removeprefix(self.base)) is not None

    def _note(self, change: Callable[[set[str]], object]) -> None:
        """Change the list of the months."""
        for _ in attempts(_PATIENCE):
            document = self._catalogue()
            document.pop("_conflicts", None)
            before, months = set(document["months"]), set(document["months"])
            change(months)
            if months == before:
                return
            document["months"] = sorted(months)
            answer = self._server.ask("PUT", f"{self.base}/{_CATALOGUE}", document)
            if answer.is_good:
                return
            if answer.status != 409:
                raise StoreUnavailable(self._server.explain(answer, "note of a new month"))
        raise StoreUnavailable("others kept changing the list of the months; try again")

    # -- making and deleting them ----------------------------------------------------------------------------------

    def setup(self, now: float) -> None:
        """Make what is missing: the database of locks, and that of the month."""
        if self._server.ask("GET", f"{self.base}/{_CATALOGUE}").status == 404:
            self._make_base()
        self._make(self.base)
        present = self._month(now)
        self._make(present)
        self._note(lambda months: months.add(present))
        self._look_up()

    def _make_base(self) -> None:
        answer = self._server.ask("GET", self.base)
        if answer.status == 200 and answer.body.get("doc_count", 0) > 0:
            raise ConfigurationError(f"the database {self.base!r} of CouchDB holds documents that are not of session2: "
                                     "give the store a name of its own")
        self._create(self.base)
        answer = self._server.ask("PUT", f"{self.base}/{_CATALOGUE}", {"months": []})
        if not answer.is_good and answer.status != 409:  # somebody else sets it up at this moment
            raise StoreUnavailable(self._server.explain(answer, "setting up"))

    def _made(self, month: str) -> bool:
        """Make a month and tell of it; False if this user may not."""
        if month not in self._look_up():
            try:
                self._make(month)
            except NotAllowed as error:
                self._refused = month
                log.warning("what is new goes into the database of an earlier month: %s", error)
                return False
            self._note(lambda months: months.add(month))
            self._look_up()
        return True

    def _make(self, database: str) -> None:
        """Make a database with its views; readers and writers may do in it what they may in the one of locks."""
        if self._create(database):
            security = self._server.ask("GET", f"{self.base}/_security")
            if security.status == 200 and security.body:
                self._done(self._server.ask("PUT", f"{database}/_security", security.body), database)
        design = {"language": "javascript", "views": _VIEWS}
        answer = self._server.ask("GET", f"{database}/{DESIGN}")
        if answer.status == 200:
            if answer.body.get("views") == _VIEWS:
                return
            design["_rev"] = answer.field("_rev", str)
        self._done(self._server.ask("PUT", f"{database}/{DESIGN}", design), database, fine=409)

    def _create(self, database: str) -> bool:
        """Make an empty database; tell whether it was missing."""
        if self._server.ask("HEAD", database).status == 200:
            return False
        answer = self._server.ask("PUT", database)
        self._done(answer, database, fine=412)
        return answer.is_good

    def _done(self, answer: Answer, database: str, doing: str = "making", fine: int = 0) -> None:
        if answer.status in (401, 403):
            raise NotAllowed(self._server.explain(answer, f"{doing} {database!r}"))
        if not answer.is_good and answer.status != fine:
            raise StoreUnavailable(self._server.explain(answer, f"{doing} {database!r}"))

    def delete_empty(self, now: float) -> None:
        """Delete the months that are long over and hold nothing.

        Nothing can come into them any more: what is new goes into the month of its time.  The month before is spared,
        for somebody's clock may be late; and the newest there is, for the clock here may be ahead.
        """
        year, month = time.gmtime(now)[:2]
        before = f"{self.base}-{year - (month == 1):04d}-{(month - 2) % 12 + 1:02d}"
        for name in self._look_up()[:-1]:
            if name < before and self._is_empty(name):
                try:
                    self._delete(name)
                except NotAllowed as error:
                    log.info("a month is over and its database stays: %s", error)

    def delete_months(self) -> None:
        """Delete all months with all that is in them."""
        for name in self._look_up():
            self._delete(name)

    def _is_empty(self, month: str) -> bool:
        answer = self._server.ask("GET", f"{month}/_all_docs", limit=2)
        return answer.status == 404 or (answer.status == 200 and all(
            isinstance(row, dict) and str(row.get("id")).startswith("_design/") for row in answer.field("rows", list)))

    def _delete(self, month: str) -> None:
        self._done(self._server.ask("DELETE", month), month, "deleting", 404)
        self._note(lambda months: months.discard(month))


def _months_in(answer: Answer) -> list[str]:
    """Return the months that a list names; what else is in it is not believed."""
    return [month for month in answer.field("months", list) if isinstance(month, str)]


class NotAllowed(StoreUnavailable):
    """The user of CouchDB may not do that."""
