"""Sessions in a table of an SQLite database."""

from .store import SQLiteSessionStore

__all__ = ["SQLiteSessionStore"]
