"""`CouchDBSessionStore`: the primitives, each a compare-and-set by the revision of one document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from ...clocks import seconds
from ...errors import Conflict, StoreMissing, StoreUnavailable
from ...patience import attempts
from ...record import Record, Version
from ...traces import is_lock, is_over
from ..base import SessionStore
from ..records import checked_key
from ..servers.once import Standing, applied, fate_of_insert, fate_of_removal, fate_of_replacement
from ..versions import new_version
from .access import Documents
from .databases import Databases
from .documents import Document, Revision, document_of, is_expired, key_of, record_of, standing, user_text
from .reunion import Reunion
from .server import Server, place_of

_PATIENCE: Final = 10.0
"""Seconds to try for, while others touch the same record."""

_BUSY: Final = "others kept touching the same session; try again"


class CouchDBSessionStore(SessionStore):
    """Keeps each session as a document of CouchDB, in a database for each month.

    :param url: ``couchdb://user:password@host:port/prefix``, or ``couchdbs://`` for an encrypted connection; all names
        of databases begin with the prefix.
    :param pool_size: how many connections the store opens at most, in each process.
    :param connect_timeout: seconds after which a server that does not answer counts as away.
    :param timeout: seconds for which it may be silent when it is asked something, or to wait for a free connection.
    :param ssl_ca: a file with the certificates to trust; default: those the system trusts.
    """

    is_thread_safe = True
    is_multiprocess_safe = True

    def __init__(self, url: str, *, pool_size: int = 10, connect_timeout: float = 5.0, timeout: float = 30.0,
                 ssl_ca: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        seconds("connect_timeout", connect_timeout)
        seconds("timeout", timeout)
        place = place_of(url)
        self._server = Server(place, pool_size, connect_timeout, timeout, ssl_ca)
        self._databases = Databases(self._server, place.prefix)
        self._documents = Documents(self._server, self._databases, Reunion(self._server, self._merged))

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> CouchDBSessionStore:
        """Make a store from ``couchdb://user:password@host:port/prefix``."""
        return cls(location, **options)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        found = self._documents.find(checked_key(key), self.clock())
        return None if found is None else self._record(*found)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        checked_key(key)
        version: Revision | None = None
        if expected is None:
            version = self._insert(key, record, new_version())
        elif isinstance(expected, Revision):
            version = self._replace(key, record, new_version(), expected)
        if version is None:
            raise Conflict(f"the record {key:.8} changed")
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        checked_key(key)
        for _ in attempts(_PATIENCE):
            found = self._documents.find(key, self.clock())
            record = None if found is None else self._record(*found)
            if found is None or record is None:
                return False
            if accessed <= record.accessed:
                return True
            database, document = found
            if self._documents.put(database, {**document, "accessed": accessed, "expires": expires}, True):
                return True
        raise StoreUnavailable(_BUSY)

    def remove(self, key: str, expected: Version | None = None) -> None:
        checked_key(key)
        if expected is None:
            for database in self._databases.holding(key, self.clock()):
                self._clear(database, key)
            return
        done = isinstance(expected, Revision) and applied(
            lambda: self._delete_revision(key, expected),
            lambda: fate_of_removal(self._standing(expected.database, key), expected.number))
        if not done and self.read(key) is not None:
            raise Conflict(f"the record {key:.8} changed")

    def scan(self) -> Iterator[tuple[str, Record]]:
        for database in self._all_databases():
            yield from self._live(database, self._documents.all(database))

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        text = user_text(user)
        for database in self._databases.all(self.clock()):
            yield from self._live(database, self._documents.of_user(database, text))

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        now = self.clock() if now is None else now
        deleted = 0
        for database in self._all_databases():
            deleted += self._purge(database, "by_expiry", batch, now, None, endkey=now)
            if unused_since is not None:
                deleted += self._purge(database, "by_use", batch, now, unused_since, endkey=unused_since,
                                       inclusive_end=False)
        self._databases.delete_empty(min(now, self.clock()))
        return deleted

    # -- abilities -------------------------------------------------------------------------------------------------

    def setup(self, drop: bool = False) -> None:
        """Make the databases that are missing.  With `drop` delete all sessions first."""
        if drop:
            with suppress(StoreMissing):
                self._databases.delete_months()
                for document in self._documents.all(self._databases.base):
                    self._clear(self._databases.base, key_of(document))
        self._databases.setup(self.clock())

    def close(self) -> None:
        """Close the connections; the store may be used again afterwards."""
        self._server.close()

    # -- inserting -------------------------------------------------------------------------------------------------

    def _insert(self, key: str, record: Record, number: int) -> Revision | None:
        document, at = document_of(key, record, number, ()), [self._databases.base]
        done = applied(lambda: self._put_new(key, document, at),
                       lambda: fate_of_insert(self._standing(at[0], key), number, is_lock(key)))
        if not done:
            return None
        version = Revision(number, (), at[0], document.get("_rev"), record.expires)
        if not self._is_only_one(key, version):
            return None
        self._databases.note(key, at[0])
        return version

    def _put_new(self, key: str, document: Document, at: list[str]) -> bool:
        """Store a document where none is, or one that is expired; note the database in `at` before."""
        for _ in attempts(_PATIENCE):
            now = self.clock()
            at[0] = database = self._databases.for_new(key, now)
            if not self._is_free(key, [other for other in self._months_of(key, self._databases.known)
                                       if other != database]):
                return False
            document.pop("_rev", None)
            if self._documents.put(database, document):
                return True
            found = self._documents.fetch(database, key)
            if found is not None:
                document["_rev"] = found["_rev"]
                if not is_expired(found, now):
                    return False
                if self._documents.put(database, document):
                    return True
        raise StoreUnavailable(_BUSY)

    def _is_only_one(self, key: str, version: Revision) -> bool:
        """Tell whether nobody inserted the same key into another month at the same moment; else take it back.

        Of two that do so one at least sees the other, for each looks after it wrote; both may give way.
        """
        others = [month for month in self._months_of(key, self._databases.all) if month != version.database]
        if self._is_free(key, others):
            return True
        with suppress(Conflict):
            self.remove(key, version)
        return False

    def _months_of(self, key: str, months: Callable[[float], tuple[str, ...]]) -> tuple[str, ...]:
        return () if is_lock(key) else months(self.clock())

    def _is_free(self, key: str, databases: list[str]) -> bool:
        """Tell whether nothing is under this key in these databases; what is expired is deleted."""
        for database in databases:
            found = self._documents.fetch(database, key)
            if found is not None and not (is_expired(found, self.clock())
                                          and self._documents.delete(database, key, found["_rev"])):
                return False
        return True

    # -- replacing and removing ------------------------------------------------------------------------------------

    def _replace(self, key: str, record: Record, number: int, expected: Revision) -> Revision | None:
        before = expected.number, *expected.before
        document = document_of(key, record, number, before)
        done = applied(lambda: self._put_over(key, document, expected),
                       lambda: fate_of_replacement(self._standing(expected.database, key), number, expected.number))
        return Revision(number, before, expected.database, document.get("_rev"), record.expires) if done else None

    def _put_over(self, key: str, document: Document, expected: Revision) -> bool:
        rev = expected.rev_if_live(self.clock())
        for _ in attempts(_PATIENCE):
            rev = rev or self._rev_now(key, expected, live_only=True)
            if rev is None:
                return False
            document["_rev"] = rev
            if self._documents.put(expected.database, document):
                return True
            rev = None  # touched, or changed
        raise StoreUnavailable(_BUSY)

    def _delete_revision(self, key: str, expected: Revision) -> bool:
        rev = expected.rev
        for _ in attempts(_PATIENCE):
            rev = rev or self._rev_now(key, expected, live_only=False)
            if rev is None:
                return False
            if self._documents.delete(expected.database, key, rev, is_repeatable=False):
                return True
            rev = None
        raise StoreUnavailable(_BUSY)

    def _rev_now(self, key: str, expected: Revision, live_only: bool) -> str | None:
        """Return the revision that has the expected version now, None if there is none."""
        found = self._documents.fetch(expected.database, key)
        if found is None:
            return None
        known = standing(found, self.clock())
        is_it = known.versions[0] == expected.number and (known.is_live or not live_only)
        return str(found["_rev"]) if is_it else None

    def _clear(self, database: str, key: str) -> None:
        """Delete whatever is under a key."""
        for _ in attempts(_PATIENCE):
            found = self._documents.fetch(database, key)
            if found is None:
                return
            if self._documents.delete(database, key, found["_rev"]) and "_conflicts" not in found:
                return
        raise StoreUnavailable(_BUSY)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _all_databases(self) -> tuple[str, ...]:
        return self._databases.base, *self._databases.all(self.clock())

    def _standing(self, database: str, key: str) -> Standing | None:
        found = self._documents.fetch(database, key)
        return None if found is None else standing(found, self.clock())

    def _record(self, database: str, document: Document) -> Record | None:
        """Return the record of a document, if it is live and not damaged."""
        try:
            record = record_of(database, document)
        except ValueError as error:
            self._damaged(key_of(document), f"its document cannot be read: {error}")
            return None
        return record if record.is_live(self.clock()) else None

    def _live(self, database: str, documents: Iterator[Document]) -> Iterator[tuple[str, Record]]:
        for document in documents:
            key = key_of(document)
            record = self.read(key) if "_conflicts" in document else self._record(database, document)
            if record is not None:
                yield key, record

    def _purge(self, database: str, view: str, batch: int, now: float, unused_since: float | None,
               **span: Any) -> int:
        """Delete what a view tells is over, each by its revision: what is used meanwhile has another one."""
        deleted = 0
        while (over := self._documents.over(database, view, limit=batch, **span)) is not None:
            self._reunite(database, [id for id, rev in over.items() if rev is None])
            gone = self._documents.delete_all(database, {id: rev for id, rev in over.items() if rev is not None})
            deleted += gone
            if len(over) < batch or not gone:
                return deleted
        return deleted + self._purge_all(database, batch, now, unused_since)

    def _purge_all(self, database: str, batch: int, now: float, unused_since: float | None) -> int:
        """Look at every document, where the view cannot be had."""
        deleted, over = 0, dict[str, str]()
        for document in self._documents.all(database):
            if "_conflicts" in document:
                self._reunite(database, [document["_id"]])
            elif self._is_over(database, document, now, unused_since):
                over[document["_id"]] = document["_rev"]
            if len(over) >= batch:
                deleted += self._documents.delete_all(database, over)
                over.clear()
        return deleted + self._documents.delete_all(database, over)

    def _is_over(self, database: str, document: Document, now: float, unused_since: float | None) -> bool:
        try:
            return is_over(key_of(document), record_of(database, document), now, unused_since)
        except ValueError:
            return False

    def _reunite(self, database: str, ids: list[str]) -> None:
        """Make one of the revisions of each document: to delete an end that expired would show what it ended."""
        for id in ids:
            self._documents.fetch(database, key_of({"_id": id}))

    def _merged(self, key: str, base: bytes | None, mine: bytes, theirs: bytes) -> bytes:
        return self.sessions.codec.reunited(key, base, mine, theirs)
