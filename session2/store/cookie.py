"""Sessions in their visitors' browsers: each in a cookie beside that of its id, encrypted."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from .. import traces
from ..cookies import CANDIDATES, CookiePolicy
from ..errors import ConfigurationError, Conflict, SessionTooLarge
from ..exchange import Exchange, send_cookie, set_cookie_header
from ..filing import Filing
from ..record import Record, Version
from ..serializers import Encrypted, JSONSerializer, PickleSerializer, Serializer, Signed
from ..sessions import Sessions
from .base import SessionStore
from .cleaning import clean
from .ended import Born, Ended, span_of
from .lease import Lease
from .records import RecordStore, can_merge, checked_key
from .sealed import opened, sealed
from .volatile import VolatileSessionStore

log = logging.getLogger("session2")

LARGEST: Final = 4096
"""Bytes of a cookie that a browser keeps, its name and its attributes included."""

SUFFIX: Final = "-data"
"""What is behind the name of the id's cookie in that of the other one."""

_LATE: Final = "the headers are out: a session that is kept in a cookie can be stored no more"


class CookieSessionStore(SessionStore):
    """Keeps each session in a second cookie of its browser, with its times and its user, encrypted or signed.

    What is stored travels with the request, so two requests that overlap do not see each other: the last answer wins.

    :param serializer: `Encrypted` or `Signed`, around anything but pickle; or a secret of `session2.get_secret`, or
        several, the newest first: JSON, encrypted.
    :param ended_in: another store, in which it is kept which sessions have ended, and which users were revoked.
        Without one a copy of the cookies is valid until it expires.
    """

    is_thread_safe = True
    is_multiprocess_safe = True
    can_list = False

    def __init__(self, serializer: Serializer | str | bytes | Sequence[str | bytes],
                 ended_in: RecordStore | None = None, **options: Any) -> None:
        self.seal = _sealing(serializer)
        head = self.seal._header
        self._beginning = base64.urlsafe_b64encode(head[:len(head) // 3 * 3]).decode("ascii")
        super().__init__(serializer=self.seal.inner, **options)
        if ended_in is not None and not can_merge(type(ended_in)):
            raise ConfigurationError("what has ended must not travel with the requests: ended_in needs a store of "
                                     "another kind")
        if ended_in is not None:  # what one process alone knows to have ended, is valid in the others
            self.is_thread_safe, self.is_multiprocess_safe = ended_in.is_thread_safe, ended_in.is_multiprocess_safe
        self.ended = None if ended_in is None else Ended(ended_in)
        self._aside = VolatileSessionStore(clock=self.clock) if ended_in is None else ended_in
        self.sessions: Sessions = _Sessions(self.sessions.filing, self.ended, self.sessions)

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> CookieSessionStore:
        """Make a store from ``cookie:``; `ended_in` may be the URL of another one."""
        if location != "cookie:" or "serializer" not in options:
            raise ConfigurationError("a store of cookies has no place, and needs a seal: write "
                                     "'cookie:?serializer=encrypted-json'")
        if isinstance(options.get("ended_in"), str):
            from ..urls import from_url

            clock = {"clock": options["clock"]} if "clock" in options else {}
            options["ended_in"] = from_url(options["ended_in"], **clock)
        return cls(**options)

    def for_request(self, exchange: Any, policy: Any) -> _RequestStore:  # type: ignore[override]
        """Return the store of what this request brought and will take along."""
        return _RequestStore(self, exchange, policy)

    def looks_sealed(self, value: str) -> bool:
        """Tell whether a cookie begins as those that are sealed here do."""
        return len(value) <= LARGEST and value.startswith(self._beginning)

    # Outside of requests there is nothing but what a purge in turn leaves beside the sessions.

    def read(self, key: str) -> Record | None:
        return self._beside(key).read(key)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        return self._beside(key).write(key, record, expected)

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        return self._beside(key).touch(key, accessed, expires)

    def remove(self, key: str, expected: Version | None = None) -> None:
        self._beside(key).remove(key, expected)

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        """Clean the store that remembers what has ended; browsers forget the rest by themselves."""
        return clean(self._aside, batch).deleted

    def lock(self, key: str, *, timeout: float = 30.0, lease: float = 60.0) -> Lease:
        raise ConfigurationError("a session in a cookie cannot be locked: a request that waited would not see what the "
                                 "other one stored")

    def setup(self, drop: bool = False) -> None:
        """Set up the store that remembers what has ended."""
        if drop:
            self.scan()
        self._aside.setup()

    def close(self) -> None:
        self._aside.close()

    def _beside(self, key: str) -> RecordStore:
        if traces.is_lock(checked_key(key)):
            return self._aside
        raise ConfigurationError("a session in a cookie can be had in its own request only")


class _Sessions(Sessions):
    """Sessions that nobody can look through: to revoke those of a user is to note it."""

    def __init__(self, filing: Filing, ended: Ended | None, kin: Sessions,
                 request: _RequestStore | None = None) -> None:
        super().__init__(filing, kin)
        self._ended = ended
        self._request = request

    def deliver(self) -> None:
        """Send the cookie of what was stored."""
        if self._request is not None:
            self._request.deliver()

    def is_undelivered(self) -> bool:
        return self._request is not None and self._request.has_news()

    def revoke(self, user: str | None = None, spared: Any = None, reason: str = "revoked") -> Iterator[str]:
        """Note that the sessions which a user has by now are over; yield where, once."""
        if self._ended is None or user is None:
            yield from super().revoke(user, spared, reason)
            return
        key = self._ended.end_user(user, spared)
        self.tell("revoked", key, reason)
        yield key


class _RequestStore(SessionStore):
    """What one request brought, and what its answer takes along."""

    is_thread_safe = True
    can_list = False

    def __init__(self, store: CookieSessionStore, exchange: Exchange, policy: CookiePolicy) -> None:
        self._store, self._exchange, self._first_policy = store, exchange, policy
        self._name = policy.name + SUFFIX
        self.serializer, self.hash_ids = store.serializer, store.hash_ids
        self.clock, self.observer, self.queues = store.clock, store.observer, store.queues
        self._known: dict[str, Record | None] = {}
        """What the browser has."""
        self._found: dict[str, Record | None] = {}
        """What is there now."""
        self._spans: dict[str, float] = {}
        """For how many seconds each was ever to live unused: a copy of it may have been told so."""
        self._news: tuple[str, str] | None = None
        """What the browser is to be told: of which key, and the cookie, empty if it is to be taken away."""
        self._is_sent = False

    @property
    def sessions(self) -> Sessions:  # type: ignore[override]
        """The sessions over what the request brought; they hold the store, and so are not held by it."""
        store = self._store
        return _Sessions(Filing(self, store.sessions.codec), store.ended, store.sessions, self)

    lock = CookieSessionStore.lock

    def read(self, key: str) -> Record | None:
        if key not in self._found:
            self._found[key] = self._brought(checked_key(key))
        record = self._found[key]
        trace = self._store.ended and self._store.ended.trace(key, record)
        return trace or (record if record is not None and record.is_live(self.clock()) else None)

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        found, ended = self._compared(key, expected), self._store.ended
        if traces.is_moved(record):
            raise ConfigurationError("the id of a session in a cookie cannot be given a grace: with the old one it "
                                     "would go on beside the new one")
        if found is not None and ended is not None and traces.is_trace(record):
            version = ended.end(key, record, found, self._spans.get(key, 0.0))
            self._put(key, None)
            return version
        if found is not None and not isinstance(found.version, tuple):
            raise Conflict(f"the session {key:.8} has ended")
        if found is not None:
            since = cast(Born, found.version)[0]
        else:
            since = self.clock() if ended is None else ended.since(record.user, self.clock())
        version = since, os.urandom(16)
        self._put(key, Record(*record[:-1], version))
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        record = self.read(key)
        if record is not None and accessed > record.accessed and not self._is_late():
            self._put(key, record._replace(accessed=accessed, expires=expires))
        return record is not None

    def remove(self, key: str, expected: Version | None = None) -> None:
        if expected is not None and self.read(key) is not None:
            self._compared(key, expected)
        self._put(checked_key(key), None)

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        return 0

    def _compared(self, key: str, expected: Version | None) -> Record | None:
        found = self.read(key)
        if (None if found is None else found.version) != expected:
            raise Conflict(f"the record {key:.8} changed")
        return found

    # -- the cookie ------------------------------------------------------------------------------------------------

    def _values(self) -> list[str]:
        """Return the cookies that could be of our making: no others hide ours, however many there are."""
        try:
            return list(filter(self._store.looks_sealed, self._exchange.get_cookies(self._name)))[:CANDIDATES]
        except ReferenceError:  # the request is over, and what it brought was read when there was any need
            return []

    def _brought(self, key: str) -> Record | None:
        """Return the newest record of this key in the cookies: of two paths the browser may have two."""
        brought = [found for value in self._values() if (found := opened(self._store.seal, value, key))]
        self._spans[key] = max((span for _, span in brought), default=0.0)
        self._known[key] = max((record for record, _ in brought), default=None,
                               key=lambda record: (record.modified, record.accessed))
        return self._known[key]

    def _put(self, key: str, record: Record | None) -> None:
        """Note what the answer is to take along: one session at most, for of those that ended nobody need know."""
        others = {other: found for other, found in self._found.items() if other != key}
        left = [(name, found) for name, found in [*others.items(), (key, record)]
                if found is not None and traces.is_session(name, found)]
        name, found = left[-1] if left else ("", None)
        is_news = found is not self._known.get(name)  # else another one was taken back, and the browser has it as it is
        self._news = (name, self._fitting(name, found) if found else "") if is_news or not left else None
        self._found = {**others, key: record}

    def _policy(self) -> CookiePolicy:
        """Return the policy of the id's cookie by now: an adapter may have another one for what a session came to."""
        visit = self._exchange.visit
        return self._first_policy if visit is None else cast(CookiePolicy, visit.policy)

    def _fitting(self, key: str, record: Record) -> str:
        """Return the value of the cookie, which is not too large for browsers."""
        if self._is_late():
            raise ConfigurationError(_LATE)
        self._spans[key] = max(self._spans.get(key, 0.0), span_of(record))
        value = sealed(self._store.seal, record, key, self._spans[key])
        size = len(value) + len(set_cookie_header(self._name, "", self._policy().attributes(self._exchange)))
        if size > LARGEST:
            raise SessionTooLarge(f"the session takes {size} bytes as a cookie, and browsers keep {LARGEST}; "
                                  f"{self._largest(key, record)}.  Nothing was stored")
        return value

    def deliver(self) -> None:
        """Send what there is to send."""
        news, self._news = self._news, None
        if news is None:
            return
        (key, value), exchange = news, self._exchange
        if value and self._is_late():
            raise ConfigurationError(_LATE)
        if not value:
            if not self._is_late() and (self._values() or self._is_sent):
                send_cookie(exchange, replace(self._policy(), name=self._name), None)
            return
        policy = self._policy()
        attributes = policy.attributes(exchange)
        exchange.set_cookie(self._name, value, **attributes)
        session_id = exchange.visit and exchange.visit.cookie
        if session_id and self._store.sessions.key(session_id) == key:  # lest the browser have each from another answer
            exchange.set_cookie(policy.name, session_id, **attributes)
        exchange.add_header("Cache-Control", "no-store")
        self._is_sent = True

    def has_news(self) -> bool:
        """Tell whether there is anything to send."""
        return self._news is not None

    def _is_late(self) -> bool:
        try:
            return self._exchange.headers_sent
        except ReferenceError:  # the request is over
            return True

    def _largest(self, key: str, record: Record) -> str:
        """Name what takes most of the place."""
        state = self.serializer.loads(self.serializer.open(record.data, key))
        items = state.pop("data") if isinstance(state.get("data"), dict) else {}
        sizes = {name: len(self.serializer.dumps({"": value})) for name, value in {**state, **items}.items()}
        largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
        return "the largest in it: " + ", ".join(f"{name!r} {sizes[name]}" for name in largest)


def _sealing(given: Any) -> Signed | Encrypted:
    """Return the serializer for cookies: what a client sends is decoded if it is ours and nobody else's."""
    if isinstance(given, (Signed, Encrypted)):
        if isinstance(given.inner, PickleSerializer):
            raise ConfigurationError("no pickle in cookies: who gets hold of the secret could run code here; take "
                                     "JSONSerializer or MsgpackSerializer")
        return given
    if isinstance(given, Serializer):
        raise ConfigurationError(f"{type(given).__name__} does not seal what it writes, and clients could change it: "
                                 f"take Encrypted({type(given).__name__}(), secrets), or Signed")
    return Encrypted(JSONSerializer(), given)
