"""Sessions in the memory of memcached."""

from .store import MemcachedSessionStore

__all__ = ["MemcachedSessionStore"]
