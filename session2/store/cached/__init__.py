"""Sessions read from a cache and kept in a store behind it."""

from .store import CachedSessionStore

__all__ = ["CachedSessionStore"]
