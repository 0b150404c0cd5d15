"""Sessions in a Durus object database: in a file for one process, or behind a Durus server for many."""

from .store import DurusSessionStore

__all__ = ["DurusSessionStore"]
