"""Sessions in a table of MySQL or MariaDB, by PyMySQL."""

from .store import MySQLSessionStore

__all__ = ["MySQLSessionStore"]
