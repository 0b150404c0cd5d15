"""`MemcachedSessionStore`: each session is an item, in one of the memcacheds that the store is given."""

from __future__ import annotations

import re
from typing import Any, Final

from ...clocks import seconds
from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...patience import attempts
from ...record import Record, Version
from ...traces import is_lock
from ..base import SessionStore
from ..records import checked_key
from ..servers.once import AnswerLost, Standing, applied, fate_of_insert, fate_of_removal, fate_of_replacement, written
from ..versions import new_version
from .items import ItemVersion, pack, unpack
from .servers import Servers
from .wire import EXISTS, NOT_FOUND, STORED, Connection, Item, Stamp

_SLACK: Final = 3600.0
"""Seconds for which memcached keeps what has expired: its clock may be faster than ours."""

_PATIENCE: Final = 10.0
"""Seconds for which to try again where others change the same item."""

_PREFIX: Final = re.compile(r"[!-~]{0,100}")


class MemcachedSessionStore(SessionStore):
    """Keeps each session in the memory of a memcached.  What memcached forgets is gone.

    :param servers: ``host:port``, or the path of a Unix socket; several separated by commas.  Each has the share of
        the sessions that its weight says, ``host:port*2`` twice that of the others.  All processes must name the same.
    :param prefix: what the names of the items begin with.
    :param pool_size: how many connections to each server this process has at most.
    :param timeout: seconds after which a server that does not answer counts as away, or to wait for a free connection.
    """

    is_thread_safe = True
    is_multiprocess_safe = True
    can_list = False

    def __init__(self, servers: str = "localhost", *, prefix: str = "session2:", pool_size: int = 10,
                 timeout: float = 3.0, **options: Any) -> None:
        super().__init__(**options)
        if _PREFIX.fullmatch(prefix) is None:
            raise ConfigurationError("the prefix has up to 100 characters, ASCII and no blanks")
        seconds("timeout", timeout)
        self._prefix = prefix
        self._servers = Servers(servers, pool_size, timeout)

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> MemcachedSessionStore:
        """Make a store from ``memcached://host:port,host:port*2``, or ``memcached:///path`` for a Unix socket."""
        _, found, servers = location.partition("://")
        if not found:
            raise ConfigurationError("write 'memcached://host:11211', several as 'memcached://host1:11211,host2:11211'")
        return cls(servers.rstrip("/"), **options)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        seen = self._seen(checked_key(key))
        return None if seen is None else seen[0]

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        checked_key(key)
        number = new_version()
        if expected is None:
            new = ItemVersion(written(number))
            done = applied(lambda: self._insert(key, record, new),
                           lambda: fate_of_insert(self._standing(key), number, is_lock(key)))
        elif isinstance(expected, ItemVersion):
            new, before = expected.successor(number), expected
            done = applied(lambda: self._replace(key, record, new, before),
                           lambda: fate_of_replacement(self._standing(key), number, before.number))
        else:  # of another store
            raise _conflict(key)
        if not done:
            raise _conflict(key)
        return new

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        checked_key(key)
        try:
            return self._move(key, accessed, expires)
        except AnswerLost:
            return self._move(key, accessed, expires)  # a second time moves nothing

    def remove(self, key: str, expected: Version | None = None) -> None:
        name = self._name(checked_key(key))
        if expected is None:
            self._servers.of(key).ask(lambda connection: connection.delete(name))
        elif not isinstance(expected, ItemVersion) or not applied(
                lambda: self._take_away(key, expected),
                lambda: fate_of_removal(self._standing(key), expected.number)):
            raise _conflict(key)

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        """Leave it to memcached, see that all servers answer, and return 0."""
        self._check()
        return 0

    def setup(self, drop: bool = False) -> None:
        """See that all servers answer.  There is nothing to make, and with `drop` it is refused."""
        super().setup(drop)
        self._check()

    def _check(self) -> None:
        for server in self._servers.all:
            server.ask(Connection.check)

    def close(self) -> None:
        for server in self._servers.all:
            server.close()

    # -- changes: each tells whether it is done, or raises AnswerLost ----------------------------------------------

    def _insert(self, key: str, record: Record, new: ItemVersion) -> bool:
        value, seconds = pack(key, record, new), _kept_for(record.expires, self.clock())
        if self._put(key, value, seconds, None) == STORED:
            return True
        item = self._item(key)
        if item is not None and self._live(key, *item) is not None:
            return False
        # Over what has expired, or where something was just now.
        return self._put(key, value, seconds, None if item is None else item[1]) == STORED

    def _replace(self, key: str, record: Record, new: ItemVersion, expected: ItemVersion) -> bool:
        now = self.clock()
        return self._swap(key, pack(key, record, new), _kept_for(record.expires, now), expected, now) == STORED

    def _take_away(self, key: str, expected: ItemVersion) -> bool:
        return self._swap(key, b"", 0.0, expected, self.clock()) != EXISTS

    def _swap(self, key: str, value: bytes, seconds: float | None, expected: ItemVersion, now: float) -> bytes:
        """Put a value in place of this version, also if the item has changed and the version has not.

        Returns the answer.
        """
        if expected.expires is not None and expected.expires <= now:
            return NOT_FOUND
        answer = self._put(key, value, seconds, expected.stamp)
        if answer != EXISTS:
            return answer
        for _ in attempts(_PATIENCE):
            seen = self._seen(key)
            if seen is None or seen[1] != expected:
                return NOT_FOUND if seen is None else EXISTS
            answer = self._put(key, value, seconds, seen[1].stamp)
            if answer != EXISTS:
                return answer
        raise _contended()

    def _move(self, key: str, accessed: float, expires: float | None) -> bool:
        for _ in attempts(_PATIENCE):
            seen = self._seen(key)
            if seen is None or accessed <= seen[0].accessed:
                return seen is not None
            record, version = seen
            moved = pack(key, record._replace(accessed=accessed, expires=expires), version)
            if self._put(key, moved, _kept_for(expires, self.clock()), version.stamp) == STORED:
                return True
        raise _contended()

    # -- items -----------------------------------------------------------------------------------------------------

    def _name(self, key: str) -> bytes:
        return (self._prefix + key).encode()

    def _item(self, key: str) -> Item | None:
        name = self._name(key)
        return self._servers.of(key).ask(lambda connection: connection.get(name))

    def _seen(self, key: str) -> tuple[Record, ItemVersion] | None:
        """Return the live record under a key, with its version."""
        item = self._item(key)
        return None if item is None else self._live(key, *item)

    def _live(self, key: str, value: bytes, stamp: Stamp) -> tuple[Record, ItemVersion] | None:
        if not value:  # it was removed
            return None
        try:
            seen = unpack(key, value, stamp)
        except ValueError as error:
            self._damaged(key, f"its item cannot be read: {error}")
            return None
        return seen if seen[0].is_live(self.clock()) else None

    def _standing(self, key: str) -> Standing | None:
        item = self._item(key)
        try:
            return None if item is None else unpack(key, *item)[1].standing(self.clock())
        except ValueError:
            return None

    def _put(self, key: str, value: bytes, seconds: float | None, stamp: Stamp | None) -> bytes:
        """Put a value in place of the item with this stamp, or where nothing is, and return the answer."""
        name = self._name(key)
        return self._servers.of(key).change(lambda connection: connection.put(name, value, seconds, stamp))


def _kept_for(expires: float | None, now: float) -> float | None:
    """Return for how many seconds memcached keeps a record; None: for ever."""
    return None if expires is None else max(expires - now + _SLACK, 1.0)


def _conflict(key: str) -> Conflict:
    return Conflict(f"the record {key:.8} changed")


def _contended() -> StoreUnavailable:
    return StoreUnavailable(f"others kept changing the session for {_PATIENCE:g} s")
