# pyright: strict
"""What applications write, for type checkers only: `test_packaging` has mypy and pyright read it from outside."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from typing_extensions import assert_type

from session2 import (
    ConfigurationError,
    CookiePolicy,
    DictSession,
    Encrypted,
    Exchange,
    JSONSerializer,
    LockTimeout,
    PickleSerializer,
    Session,
    SessionConflict,
    SessionError,
    SessionManager,
    Signed,
    StoreUnavailable,
    from_url,
    get_secret,
    merge,
)
from session2.events import Event
from session2.found import Absence, Found
from session2.live import LiveSession
from session2.store.base import SessionStore
from session2.store.directory import DirectorySessionStore
from session2_asgi import SessionMiddleware as ASGIMiddleware
from session2_wsgi import SessionMiddleware


class Shopper(DictSession):
    merge_rules = {"visits": merge.add, "basket": merge.union, "token": merge.first}
    theme: str = "light"


def observe(event: Event) -> None:
    assert_type(event.key, str)


store = from_url("directory:sessions?create=true", observer=observe)
assert_type(store, SessionStore)
directory = DirectorySessionStore("sessions", create=True, serializer=Signed(JSONSerializer(), get_secret()))
Encrypted(PickleSerializer(), [get_secret(), get_secret()])

policy = CookiePolicy("__Host-session", secure=True, samesite="Strict", max_age=timedelta(days=30))
CookiePolicy(samesite="none")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

manager = SessionManager(store, Shopper, cookie=policy, idle_timeout=timedelta(days=1), lifetime=None, max_sessions=3)
assert_type(manager, SessionManager[Shopper])
assert_type(SessionManager(store), SessionManager[Session])
SessionManager(store, concurrency="blind")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
SessionManager(store, str)  # type: ignore[type-var] # pyright: ignore[reportArgumentType]


def mode(exchange: Exchange) -> Any:
    return "lock" if exchange.is_secure else "merge"


SessionManager(directory, concurrency=mode)

session = manager.new_session()
assert_type(session, Shopper)
session["visits"] = session.get("visits", 0) + 1
session.set_user("anne")
manager.save(session)
assert_type(session.id, str | None)
assert_type(session.theme, str)
assert_type(session.get_csrf_token(), str)

assert_type(manager.load("id"), Shopper | None)
assert_type(manager.find("id"), Found[Shopper])
assert_type(manager.find("id").absence, Absence | None)
assert_type(manager.sessions_of("anne"), Iterator[Shopper])
assert_type(manager.revoke_user("anne", except_=session), int)
assert_type(manager["id"], Shopper)

with manager.lock(session) as lease:
    manager.save(session, "lock", lease)

live = LiveSession(manager, session)
assert_type(live.apply(len), int)
assert_type(live.is_live, bool)

try:
    manager.save(session, "strict")
except (SessionConflict, LockTimeout, StoreUnavailable, ConfigurationError) as error:
    assert_type(error.status, int)
except SessionError as error:
    assert_type(error.retry_after, int | None)


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    return []


async def asgi(scope: Any, receive: Any, send: Any) -> None: ...


SessionMiddleware(wsgi, manager, key="shop.session")
ASGIMiddleware(asgi, manager)
