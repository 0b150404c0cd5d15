"""The servers of a store, and which of them has which record."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Final, TypeVar

from ...errors import ConfigurationError
from ...traces import lock_key
from ..servers.asking import ask_once, ask_twice
from ..servers.pool import Kind, Pool
from .wire import Address, Connection

_T = TypeVar("_T")

_PLACE: Final = re.compile(r"""
    ( (?P<path>/[^*]+) | (\[(?P<ip>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)) (:(?P<port>\d{1,5}))? )
    (\*(?P<weight>[1-9]\d{0,3}))?""", re.VERBOSE | re.ASCII)
_PORT: Final = 11211
_LAST_PORT: Final = 65535


class Server:
    """One memcached and the connections to it.

    :param name: by which the share of this server is reckoned: all processes must call it the same.
    :param weight: how large its share is, beside the weights of the others.
    """

    def __init__(self, name: str, weight: int, address: Address, pool_size: int, timeout: float) -> None:
        self.name, self._weight = name, weight
        self._seed = blake2b(name.encode()).digest()
        kind = Kind(partial(Connection, name, address, timeout), None, Connection.is_cut, Connection.close,
                    Connection.close)
        self._pool: Pool[Connection] = Pool(kind, pool_size, timeout)
        self.close = self._pool.clear

    def ask(self, question: Callable[[Connection], _T]) -> _T:
        """Return the answer to what changes nothing, or may be done twice."""
        return ask_twice(self._pool, question)

    def change(self, change: Callable[[Connection], _T]) -> _T:
        """Return the answer to a change; `AnswerLost` if the connection broke."""
        return ask_once(self._pool, change)

    def share(self, key: bytes) -> float:
        """Return how much this server wants a key: the one that wants it most has it.

        By rendezvous hashing with weights: where a server is added or left out, no record moves between the others.
        """
        digest = blake2b(key, digest_size=8, key=self._seed).digest()
        chance = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52  # between 0 and 1, both excluded
        return -self._weight / math.log(chance)


class Servers:
    """All of them.

    :param text: ``host:port*weight`` or ``/path*weight``, separated by commas.
    """

    def __init__(self, text: str, pool_size: int, timeout: float) -> None:
        self.all = [_server(each.strip(), pool_size, timeout) for each in text.split(",")]
        if len({server.name for server in self.all}) < len(self.all):
            raise ConfigurationError("a memcached is named twice; give it a weight instead: host:11211*2")

    def of(self, key: str) -> Server:
        """Return the server that has a record; a lock is where its session is."""
        if len(self.all) == 1:
            return self.all[0]
        name = key.removeprefix(lock_key("")).encode()
        return max(self.all, key=lambda server: server.share(name))


def _server(text: str, pool_size: int, timeout: float) -> Server:
    place = _PLACE.fullmatch(text)
    if place is None or int(place["port"] or _PORT) > _LAST_PORT:
        raise ConfigurationError("write the places of memcached as 'host:11211' or '/run/memcached.sock', several with "
                                 "commas between, a larger one as 'host:11211*2'; there is no user and no password")
    name, address = _address(place)
    return Server(name, int(place["weight"] or 1), address, pool_size, timeout)


def _address(place: re.Match[str]) -> tuple[str, Address]:
    if place["path"]:
        return place["path"], place["path"]
    host, port = place["ip"] or place["host"].lower(), int(place["port"] or _PORT)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", (host, port)
