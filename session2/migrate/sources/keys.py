"""`RedisKeys` and `MemcachedItems`: what another application keeps on such servers, which is read and nothing else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from ...store.memcached.servers import Servers
from ...store.redis.commands import plain
from ...store.redis.servers import pages, servers_of
from ...store.redis.wire import Answer, Refusal

_T = TypeVar("_T")

_PATIENCE: Final = 5.0
"""Seconds to wait for a server."""

_CONNECTIONS: Final = 2
"""To each server, at most."""

_PAGE: Final = 100
"""Keys fetched at once."""


class Value(NamedTuple):
    """What stands under a key."""

    name: str
    data: bytes
    expires: float | None = None
    """Seconds since the epoch."""


class RedisKeys:
    """The keys of a server, or a cluster.

    :param place: a URL as `RedisSessionStore` takes it, or the path of a socket.
    """

    def __init__(self, place: str) -> None:
        try:
            from ...store.redis.driver import destination
        except ImportError as error:
            raise ConfigurationError("sessions in Redis need redis-py: pip install 'session2[redis]'") from error
        url = place if "://" in place else f"redis+unix://{place}"
        self._servers = servers_of(destination(url, _PATIENCE, _PATIENCE, None), _CONNECTIONS, _PATIENCE)

    def get(self, name: str) -> Value | None:
        """Return what stands under a key, None if that is nothing."""
        return next(self._values([name]), None)

    def all(self, pattern: str) -> Iterator[Value]:
        """Iterate over the keys that match a pattern of Redis."""
        seen: set[str] = set()  # the server may name a key twice while its table changes
        for server in self._servers.all():
            for names in pages(server, pattern.encode(), _PAGE):
                found = [text for name in names if (text := name.decode("utf-8", "replace")) not in seen]
                seen.update(found)
                yield from self._values(found)

    def _values(self, names: list[str]) -> Iterator[Value]:
        commands = [plain(verb, name.encode()) for name in names for verb in (b"GET", b"PTTL")]
        answers = self._servers.ask_each(commands)
        for name, data, left in zip(names, answers[::2], answers[1::2], strict=True):
            if (value := _of(bytes, data)) is not None:
                yield Value(name, value, _end(_of(int, left)))

    def close(self) -> None:
        """Give up the connections."""
        self._servers.clear()


def escaped(text: str) -> str:
    """Return a pattern of Redis that matches this text and nothing else."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def _of(kind: type[_T], answer: Answer) -> _T | None:
    """Return an answer if it is of this kind, None for nothing and for a key that is no text."""
    if isinstance(answer, kind) or answer is None:
        return answer
    if isinstance(answer, Refusal) and answer.code == "WRONGTYPE":
        return None
    why = answer.text if isinstance(answer, Refusal) else type(answer).__name__
    raise StoreUnavailable(f"Redis does not tell what is under a key: {why}")


def _end(milliseconds: int | None) -> float | None:
    return None if milliseconds is None or milliseconds < 0 else time.time() + milliseconds / 1000


class MemcachedItems:
    """The items of some servers.  Each is asked, for only the former client knew how it had spread them.

    :param place: ``memcached://host:11211,host:11211``, or the path of a socket.
    """

    def __init__(self, place: str) -> None:
        self._servers = Servers(place.partition("://")[2].rstrip("/") or place, _CONNECTIONS, _PATIENCE)

    def get(self, name: str) -> Value | None:
        """Return what stands under a key, None if that is nothing."""
        for server in self._servers.all:
            item = server.ask(lambda connection: connection.get(name.encode()))
            if item is not None:
                return Value(name, item[0])
        return None

    def close(self) -> None:
        """Close the connections."""
        for server in self._servers.all:
            server.close()
