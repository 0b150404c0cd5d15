"""`RedisSessionStore`: a key for each session, changed by scripts on the server."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeGuard, TypeVar

from ...clocks import seconds
from ...errors import ConfigurationError, Conflict, StoreUnavailable
from ...record import Record, Version
from ...traces import MARK, is_lock, is_over
from ..base import SessionStore
from ..records import KEY, checked_key
from ..servers.once import Fate, Standing, applied, fate_of_insert, fate_of_removal, fate_of_replacement
from ..versions import new_version
from .commands import PURGE, REMOVE, SWEEP, TOUCH, WRITE, Command, plain, scripted
from .layout import HEAD, OtherKey, glance, packed, packed_time, packed_times, packed_version, record_of, standing_of
from .servers import pages, servers_of
from .wire import Answer, Refusal

if TYPE_CHECKING:
    import redis

_T = TypeVar("_T")

_SLACK: Final = 3600.0
"""Seconds for which the server keeps what has expired: clocks of hosts may differ by as much, and nothing is lost."""
_LONGEST: Final = 1e12
"""Seconds; what lives longer the server keeps for ever."""
_UNSETTLED: Final = 3600.0
"""Seconds for which an entry of an index may wait for its record to be written."""
_PAGE: Final = 100
"""Records fetched at once by an iteration."""

_INDEX: Final = b"user:"
"""What follows the prefix in the name of an index."""
_HASH: Final = re.compile(rb"[0-9a-f]{64}")
"""And what follows that."""

_HINTS: Final = {
    "OOM": "its memory is full: give it more (maxmemory)", "NOAUTH": "put user and password into the URL",
    "WRONGTYPE": "somebody else uses keys of this prefix: choose another prefix",
    "READONLY": "it is a replica: name the primary, or let sentinels do so (redis+sentinel://)",
    "LOADING": "it was just started", "MISCONF": "it cannot save to disk",
    "DENIED": "protected mode: give it a password, or bind it to this host only"}
"""What to say of an error of the server, by its first word."""


class RedisSessionStore(SessionStore):
    """Keeps each session under a key of Redis or Valkey.

    :param server: a URL, ``redis://user:password@host:port/database`` or another that `docs/stores/redis.md` names; or
        a `redis.Redis`, also one that a Sentinel made for its master, or a `redis.RedisCluster`.  Of a client the store
        takes the place and how to log in, and makes its own connections.
    :param prefix: what all keys begin with; it ends in what is no letter, digit, ``-`` or ``_``.
    :param pool_size: how many connections the store opens at most, in each process and to each server.
    :param connect_timeout: seconds after which a server that does not answer counts as away.
    :param timeout: seconds to wait for an answer, or for a free connection.
    :param wait_replicas: how many replicas must have a change before it counts.
    :param ssl_ca: a file with the certificates to trust, for ``rediss`` URLs; by default those of the system.
    """

    is_thread_safe = True
    is_multiprocess_safe = True
    URL_OPTIONS: ClassVar = frozenset({"db"})

    def __init__(self, server: str | redis.Redis | redis.RedisCluster, *, prefix: str = "session2:",
                 pool_size: int = 10, connect_timeout: float = 5.0, timeout: float = 5.0, wait_replicas: int = 0,
                 ssl_ca: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        try:
            from . import driver
        except ImportError as error:
            raise ConfigurationError("RedisSessionStore needs redis-py: pip install 'session2[redis]'") from error
        if not prefix or KEY.fullmatch(prefix[-1]):
            raise ConfigurationError("the prefix must end in what is no letter, digit, '-' or '_', such as ':', so "
                                     "that no key of another prefix begins with it")
        seconds("connect_timeout", connect_timeout)
        seconds("timeout", timeout)
        if wait_replicas < 0:
            raise ConfigurationError("wait_replicas is the number of replicas, 0 or more")
        self._prefix = prefix.encode()
        self._replicas = wait_replicas
        self._patience = b"%d" % (timeout * 500)
        self._servers = servers_of(driver.destination(server, connect_timeout, timeout, ssl_ca), pool_size, timeout)

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> RedisSessionStore:
        """Make a store from one of its URLs."""
        return cls(location, **options)

    # -- primitives ------------------------------------------------------------------------------------------------

    def read(self, key: str) -> Record | None:
        [value] = self._ask(plain(b"GET", self._name(key)))
        try:
            return self._live(key, value)
        except OtherKey as error:
            raise self._mixed_up() from error

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        name, version, now = self._name(key), new_version(), self.clock()
        head, body = packed(key, record, version)
        rest = head, body, _kept_for(record.expires, now)
        entry = () if record.user is None else (self._entry(key, record.user, now),)
        if expected is None:
            save = scripted(WRITE, name, packed_time(now), b"", *rest)
            done = applied(lambda: self._change(*entry, save),
                           lambda: self._known(fate_of_insert(self._standing(name), version, is_lock(key))))
        else:
            done = _is_version(expected) and applied(
                partial(self._change, *entry, scripted(WRITE, name, packed_time(now), packed_version(expected), *rest)),
                lambda: self._known(fate_of_replacement(self._standing(name), version, expected)))
        if not done:
            raise Conflict(f"the record {key:.8} changed")
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        now = self.clock()
        [stands] = self._ask(scripted(TOUCH, self._name(key), packed_time(now), packed_times(accessed, expires),
                                      _kept_for(expires, now)))
        return self._of(int, stands) == 1

    def remove(self, key: str, expected: Version | None = None) -> None:
        name = self._name(key)
        if expected is None:
            self._change(plain(b"DEL", name), once=self._replicas > 0)
            return
        done = _is_version(expected) and applied(
            lambda: self._change(scripted(REMOVE, name, packed_time(self.clock()), packed_version(expected))),
            lambda: self._known(fate_of_removal(self._standing(name), expected)))
        if not done and self.read(key) is not None:
            raise Conflict(f"the record {key:.8} changed")

    def scan(self) -> Iterator[tuple[str, Record]]:
        seen: set[str] = set()  # the server may name a key twice while its table changes
        for names in self._pages(_PAGE):
            keys = [key for key in dict.fromkeys(map(self._key, names)) if key and key not in seen]
            seen.update(keys)
            for some in _parts(keys, _PAGE):
                yield from self._listed(some, self._values(some))

    def records_of(self, user: str) -> Iterator[tuple[str, Record]]:
        index = self._index(user)
        [members] = self._ask(plain(b"ZRANGE", index, b"0", b"-1"))
        for some in _parts(self._members(members), _PAGE):
            values = self._values(some)
            yield from ((key, record) for key, record in self._listed(some, values) if record.user == user)
            self._sweep(index, [key for key, value in zip(some, values, strict=True) if value is None])

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        now, deleted = self.clock() if now is None else now, 0
        for names in self._pages(batch):
            keys = list(filter(None, map(self._key, names)))
            deleted += sum(self._purge_some(some, now, unused_since) for some in _parts(keys, batch))
            for index in filter(self._is_index, names):
                self._sweep_all(index, batch)
        return deleted

    def setup(self, drop: bool = False) -> None:
        """See whether there is a server that can be used; it needs nothing else.  With `drop` end all sessions."""
        self._ask(plain(b"EXISTS", self._name("0")))
        super().setup(drop)

    def close(self) -> None:
        """Close the connections; the store may be used again afterwards."""
        self._servers.clear()

    # -- names -----------------------------------------------------------------------------------------------------

    def _name(self, key: str) -> bytes:
        return self._prefix + checked_key(key).encode()

    def _key(self, name: bytes) -> str:
        """Return the key of the record of this name; nothing for other names."""
        key = name[len(self._prefix):].decode("ascii", "replace")
        return key if KEY.fullmatch(key) else ""

    def _index(self, user: str) -> bytes:
        """Return the name of the index of a user, which is none of a record."""
        return self._prefix + _INDEX + hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest().encode()

    def _is_index(self, name: bytes) -> bool:
        """Tell whether it is the name of an index here; those of a prefix that begins so are another store's."""
        return _HASH.fullmatch(name.removeprefix(self._prefix + _INDEX)) is not None

    def _pages(self, count: int) -> Iterator[list[bytes]]:
        pattern = re.sub(rb"([\\*?\[\]^-])", rb"\\\1", self._prefix) + b"*"
        for server in self._servers.all():
            yield from pages(server, pattern, count)

    # -- questions -------------------------------------------------------------------------------------------------

    def _ask(self, *commands: Command, once: bool = False) -> list[Answer]:
        answers = self._servers.ask(commands, once)
        for answer in answers:
            if isinstance(answer, Refusal):
                raise _refused(answer)
        return answers

    def _ask_each(self, commands: Sequence[Command]) -> list[Answer]:
        """Ask about keys of which some may be of another kind, which counts as missing."""
        answers = self._servers.ask_each(commands)
        for answer in answers:
            if isinstance(answer, Refusal) and answer.code != "WRONGTYPE":
                raise _refused(answer)
        return [None if isinstance(answer, Refusal) else answer for answer in answers]

    def _change(self, *commands: Command, once: bool = True) -> bool:
        """Send what changes a record, with what goes before; tell whether it did, to the replicas asked for too."""
        wait = [Command(commands[-1].name, (b"WAIT", b"%d" % self._replicas, self._patience))] if self._replicas else []
        answers = self._ask(*commands, *wait, once=once)
        done = self._of(int, answers[len(commands) - 1]) == 1
        if done and self._replicas and self._of(int, answers[-1]) < self._replicas:
            raise StoreUnavailable(f"{self._of(int, answers[-1])} of {self._replicas} replicas have the change: if the "
                                   "server fails now it may be lost")
        return done

    def _known(self, fate: Fate) -> Fate:
        """Return what is known of a change: not that it counts, where replicas must have it and nobody waited."""
        return Fate.UNKNOWN if self._replicas and fate is Fate.DONE else fate

    def _of(self, kind: type[_T], answer: Any) -> _T:
        """Return an answer of this kind, an empty one if there is none; one of another kind is to another question."""
        if answer is None:
            return kind()
        if not isinstance(answer, kind):
            raise self._mixed_up()
        return answer

    def _mixed_up(self) -> StoreUnavailable:
        self._servers.clear()
        return StoreUnavailable("the answer belongs to another question; the connection was closed")

    def _members(self, answer: Answer) -> list[str]:
        """Return the keys that an index lists."""
        names = [self._of(bytes, name).decode("ascii", "replace") for name in self._of(list, answer)]
        return [name for name in names if KEY.fullmatch(name)]

    def _standing(self, name: bytes) -> Standing | None:
        [head] = self._ask(plain(b"GETRANGE", name, b"0", b"%d" % (HEAD - 1)))
        return standing_of(self._of(bytes, head), self.clock())

    def _values(self, keys: Sequence[str]) -> list[Answer]:
        return self._ask_each([plain(b"GET", self._name(key)) for key in keys])

    def _live(self, key: str, value: Answer) -> Record | None:
        """Return the record of a value, if it is live and not damaged."""
        if value is None:
            return None
        try:
            record = record_of(key, self._of(bytes, value))
        except OtherKey:
            raise
        except ValueError as error:
            self._damaged(key, f"its value cannot be read: {error}")
            return None
        return record if record.is_live(self.clock()) else None

    def _listed(self, keys: Sequence[str], values: Sequence[Answer]) -> Iterator[tuple[str, Record]]:
        for key, value in zip(keys, values, strict=True):
            try:
                record = self._live(key, value)
            except OtherKey as error:  # somebody renamed it
                self._damaged(key, str(error))
            else:
                if record is not None:
                    yield key, record

    # -- the index, and clean-up -----------------------------------------------------------------------------------

    def _entry(self, key: str, user: str, now: float) -> Command:
        """Return what enters a record into the index of its user.

        It is sent before the record: what is missing in the index would not be found, what is too much is swept out.
        """
        return plain(b"ZADD", self._index(user), b"%r" % now, key.encode())

    def _sweep(self, index: bytes, missing: Sequence[str]) -> None:
        """Take what has no record out of an index, unless it may be about to have one."""
        if missing:
            self._ask(scripted(SWEEP, index, b"%r" % (self.clock() - _UNSETTLED), *[key.encode() for key in missing]))

    def _sweep_all(self, index: bytes, batch: int) -> None:
        [members] = self._ask_each([plain(b"ZRANGEBYSCORE", index, b"-inf", b"%r" % (self.clock() - _UNSETTLED))])
        for some in _parts(self._members(members), batch):
            found = self._ask_each([plain(b"EXISTS", self._name(key)) for key in some])
            self._sweep(index, [key for key, there in zip(some, found, strict=True) if there == 0])

    def _purge_some(self, keys: Sequence[str], now: float, unused_since: float | None) -> int:
        length = b"%d" % (HEAD + len(MARK) - 1)
        heads = self._ask_each([plain(b"GETRANGE", self._name(key), b"0", length) for key in keys])
        over = [(key, self._of(bytes, head)[:HEAD]) for key, head in zip(keys, heads, strict=True)
                if (record := glance(self._of(bytes, head))) is not None and is_over(key, record, now, unused_since)]
        return self._ask_each([scripted(PURGE, self._name(key), head) for key, head in over]).count(1)


def _kept_for(expires: float | None, now: float) -> bytes:
    """Return for how many milliseconds the server keeps a record; nothing if for ever."""
    if expires is None or not expires - now < _LONGEST:
        return b""
    return b"%d" % ((max(expires - now, 0) + _SLACK) * 1000)


def _is_version(version: Version) -> TypeGuard[int]:
    """Tell whether it may be the version of a record; one of another store is that of none."""
    return isinstance(version, int) and 0 <= version < 2**64


def _refused(answer: Refusal) -> StoreUnavailable:
    hint = _HINTS.get(answer.code)
    return StoreUnavailable(f"Redis refused: {answer.text}{f' ({hint})' if hint else ''}")


def _parts(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start:start + size] for start in range(0, len(items), size))
