"""An experiment on the seams: sessions that travel with the request, in a second cookie."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from session2 import ConfigurationError, CookiePolicy, DictSession, Exchange, SessionManager, get_secret
from session2.errors import Conflict
from session2.record import Record, Version
from session2.serializers import Encrypted, JSONSerializer, Serializer
from session2.store.base import SessionStore
from session2.store.records import checked_key
from session2.testing.fakes import FakeExchange
from session2.traces import is_session

LARGEST = 4000


class CookieSessionStore(SessionStore):
    """Keeps the record in a cookie beside that of the id; it is bound to its key by the serializer, which must seal."""

    can_list = False

    def __init__(self, serializer: Serializer, *, policy: CookiePolicy | None = None, **options: Any) -> None:
        super().__init__(serializer=serializer, **options)
        self.policy = policy or CookiePolicy("session2-data")

    def for_request(self, exchange: Any) -> RequestStore:  # type: ignore[override]
        return RequestStore(self, exchange)

    def _elsewhere(self, *_: Any) -> Any:
        raise ConfigurationError("sessions in cookies can be had in their requests only")

    read = write = touch = remove = _elsewhere

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        return 0


class RequestStore(CookieSessionStore):
    """What one request brought and will take along."""

    def __init__(self, store: CookieSessionStore, exchange: Exchange) -> None:
        super().__init__(store.serializer, policy=store.policy, hash_ids=store.hash_ids, clock=store.clock,
                         observer=store.observer)
        self._exchange = exchange
        self._records = dict(unpacked(exchange.get_cookie(store.policy.name)))

    def read(self, key: str) -> Record | None:
        record = self._records.get(checked_key(key))
        return record if record is not None and record.is_live(self.clock()) else None

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        self._compare(key, expected)
        version = secrets.token_hex(8)
        self._put(key, record._replace(version=version))
        return version

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        record = self.read(key)
        if record is not None and accessed > record.accessed:
            self._put(key, record._replace(accessed=accessed, expires=expires))
        return record is not None

    def remove(self, key: str, expected: Version | None = None) -> None:
        if expected is not None and self.read(key) is not None:
            self._compare(key, expected)
        self._put(key, None)

    def _compare(self, key: str, expected: Version | None) -> None:
        there = self.read(key)
        if (None if there is None else there.version) != expected:
            raise Conflict(f"the record {key:.8} changed")

    def _put(self, key: str, record: Record | None) -> None:
        """Send what is left: the one session there is, if any, for traces are of no use to the browser."""
        others = {other: found for other, found in self._records.items() if other != key}
        self._records = {**others, key: record} if record else others
        live = [(key, record) for key, record in self._records.items() if is_session(key, record)]
        text = packed(*live[-1]) if live else ""
        if len(text) > LARGEST:
            raise ConfigurationError(f"a session of {len(text)} bytes is too large for a cookie")
        attributes = {**self.policy.attributes(self._exchange), **({} if text else {"max_age": 0})}
        self._exchange.set_cookie(self.policy.name, text, **attributes)


def packed(key: str, record: Record) -> str:
    fields = [key, base64.b64encode(record.data).decode(), *record[1:]]
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def unpacked(text: str | None) -> Iterator[tuple[str, Record]]:
    with contextlib.suppress(ValueError, TypeError):
        key, data, *fields = json.loads(base64.urlsafe_b64decode(text or ""))
        yield str(key), Record(base64.b64decode(data), *fields)


@pytest.fixture
def manager() -> SessionManager[Any]:
    return SessionManager(CookieSessionStore(Encrypted(JSONSerializer(), get_secret())), DictSession)


def visit(manager: SessionManager[Any], cookies: dict[str, str], **items: Any) -> Any:
    request = FakeExchange(cookies)
    manager.start_request(request)
    request.session.update(items)  # type: ignore[union-attr]
    manager.finish_successful_request(request)
    return request.session


def test_a_session_comes_back_with_the_browser(manager: SessionManager[Any]) -> None:
    cookies: dict[str, str] = {}
    visit(manager, cookies, a=1)
    assert set(cookies) == {"session2", "session2-data"}
    assert dict(visit(manager, cookies)) == {"a": 1}


def test_a_login_gives_a_new_id_and_the_old_one_leads_nowhere(manager: SessionManager[Any]) -> None:
    cookies: dict[str, str] = {}
    visit(manager, cookies, a=1)
    old = cookies["session2"]
    request = FakeExchange(cookies)
    manager.start_request(request)
    request.session.set_user("joe")  # type: ignore[union-attr]
    manager.finish_successful_request(request)
    assert cookies["session2"] != old
    assert visit(manager, dict(cookies)).user == "joe"
    assert visit(manager, {**cookies, "session2": old}).user is None


def test_swapped_state_is_nobodys(manager: SessionManager[Any]) -> None:
    mine: dict[str, str] = {}
    theirs: dict[str, str] = {}
    visit(manager, mine, who="me")
    visit(manager, theirs, who="them")
    assert dict(visit(manager, {**mine, "session2-data": theirs["session2-data"]})) == {}


def test_a_logout_takes_both_cookies_away(manager: SessionManager[Any]) -> None:
    cookies: dict[str, str] = {}
    visit(manager, cookies, a=1)
    request = FakeExchange(cookies)
    manager.start_request(request)
    manager.expire_session(request)
    manager.finish_successful_request(request)
    assert "session2" not in cookies
    assert dict(visit(manager, dict(cookies))) == {}


def test_what_needs_a_list_is_refused(manager: SessionManager[Any]) -> None:
    with pytest.raises(ConfigurationError, match="cannot list"):
        manager.keys()
    with pytest.raises(ConfigurationError, match="max_sessions"):
        SessionManager(manager.store, DictSession, max_sessions=1)
