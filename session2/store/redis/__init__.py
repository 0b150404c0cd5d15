"""Sessions on a Redis or Valkey server, by redis-py."""

from .store import RedisSessionStore

__all__ = ["RedisSessionStore"]
