"""Sessions in a table of PostgreSQL, by psycopg 3."""

from .store import PostgresSessionStore

__all__ = ["PostgresSessionStore"]
