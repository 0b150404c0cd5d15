"""Sessions in CouchDB: a document each, in a database for each month."""

from .store import CouchDBSessionStore

__all__ = ["CouchDBSessionStore"]
