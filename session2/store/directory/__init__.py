"""Sessions in a directory, one file each."""

from .store import DirectorySessionStore

__all__ = ["DirectorySessionStore"]
