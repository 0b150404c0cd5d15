"""The servers of a store, and which of them has which record."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import Final, TypeVar

from ...errors import ConfigurationError, StoreUnavailable
from ...forks import PerProcess
from ...traces import lock_key
from ..servers.once import AnswerLost
from .wire import Address, Broken, Connection

_T = TypeVar("_T")

_PLACE: Final = re.compile(r"""
    ( (?P<path>/[^*]+) | (\[(?P<ip>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)) (:(?P<port>\d{1,5}))? )
    (\*(?P<weight>[1-9]\d{0,3}))?""", re.VERBOSE | re.ASCII)
_PORT: Final = 11211
_LAST_PORT: Final = 65535


_MAX_IDLE: Final = 240.0
"""Seconds; firewalls and servers cut what is silent for long, often without saying so."""


class Server:
    """One memcached and the connections to it: as many as there are threads that use it at the same time.

    :param name: by which the share of this server is reckoned: all processes must call it the same.
    :param weight: how large its share is, beside the weights of the others.
    """

    def __init__(self, name: str, weight: int, address: Address, timeout: float) -> None:
        self.name, self._weight = name, weight
        self._connect = partial(Connection, name, address, timeout)
        self._seed = blake2b(name.encode()).digest()
        self._idle: PerProcess[list[Connection]] = PerProcess(list)

    def ask(self, question: Callable[[Connection], _T]) -> _T:
        """Return the answer to what changes nothing, or may be done twice."""
        try:
            return self._use(question, is_new=False)
        except Broken as broken:
            self._give_up(broken)
        try:
            return self._use(question, is_new=False)
        except Broken as broken:
            raise StoreUnavailable(str(broken)) from broken

    def change(self, change: Callable[[Connection], _T], is_new: bool = False) -> _T:
        """Return the answer to a change; `AnswerLost` if the connection broke.

        :param is_new: whether nothing will tell then what became of it, so that the connection is looked at before.
        """
        try:
            return self._use(change, is_new)
        except Broken as broken:
            self._give_up(broken)
            raise AnswerLost(str(broken)) from broken

    def close(self) -> None:
        """Close the connections that nobody uses."""
        idle = self._idle()
        while idle:
            with suppress(IndexError):  # another thread was faster
                idle.pop().close()

    def _use(self, action: Callable[[Connection], _T], is_new: bool) -> _T:
        idle = self._idle()
        connection = self._take(idle, is_new)
        # It is in no list now: whatever interrupts this, nobody gets it again.
        try:
            result = action(connection)
        except BaseException:
            connection.close()
            raise
        connection.used = monotonic()
        idle.append(connection)
        return result

    def _take(self, idle: list[Connection], is_new: bool) -> Connection:
        while idle:
            try:
                connection = idle.pop()
            except IndexError:  # another thread was faster
                break
            if monotonic() - connection.used < _MAX_IDLE and not (is_new and connection.ear.hears()):
                return connection
            connection.close()
        return self._connect()

    def _give_up(self, broken: Broken) -> None:
        """Close what most likely broke as well.  To ask again a server that says nothing takes as long again."""
        self.close()
        if broken.is_silence:
            raise StoreUnavailable(str(broken)) from broken

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

    def __init__(self, text: str, timeout: float) -> None:
        self.all = [_server(each.strip(), timeout) for each in text.split(",")]
        if len({server.name for server in self.all}) < len(self.all):
            raise ConfigurationError("a memcached is named twice; give it a weight instead: host:11211*2")

    def of(self, key: str) -> Server:
        """Return the server that has a record; a lock is where its session is."""
        if len(self.all) == 1:
            return self.all[0]
        name = key.removeprefix(lock_key("")).encode()
        return max(self.all, key=lambda server: server.share(name))


def _server(text: str, timeout: float) -> Server:
    place = _PLACE.fullmatch(text)
    if place is None or int(place["port"] or _PORT) > _LAST_PORT:
        raise ConfigurationError("write the places of memcached as 'host:11211' or '/run/memcached.sock', several with "
                                 "commas between, a larger one as 'host:11211*2'; there is no user and no password")
    name, address = _address(place)
    return Server(name, int(place["weight"] or 1), address, timeout)


def _address(place: re.Match[str]) -> tuple[str, Address]:
    if place["path"]:
        return place["path"], place["path"]
    host, port = place["ip"] or place["host"].lower(), int(place["port"] or _PORT)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", (host, port)
