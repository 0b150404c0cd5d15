"""The Redis part of what is measured: a private server, which writes to its disk every second."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import redis
from cases import Case, by_requests, ours, raw
from django.core.cache import caches
from flask import Flask
from flask_session.redis import RedisSessionInterface
from peers import beakers, djangos

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers_redis import RedisServer


def on_redis(folder: Path) -> list[Case]:
    """A GET and a SET by redis-py, with a client for each worker."""
    server = RedisServer(durable=True)
    atexit.register(server.close)

    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        client, key = redis.Redis.from_url(server.url), f"raw{number}"
        return lambda: client.get(key), lambda data: client.set(key, data)

    return [raw("redis-py, GET + SET", begin), *ours("redis", server.url),
            beakers("ext:redis", folder, url=server.url), django_cache(server.url, folder), flask_session(server.url)]


def django_cache(url: str, folder: Path) -> Case:
    """Django's sessions in its cache, which is on the server."""
    djangos("cache", folder)  # so that there are settings
    from django.contrib.sessions.backends.cache import SessionStore

    caches.settings["redis"] = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}

    def request(key: str | None, page: Callable[[Any], None]) -> str:
        session = SessionStore(key)
        session._cache = caches["redis"]
        page(session)
        if session.modified:
            session.save()
        return str(session.session_key)

    return Case("Django cache", lambda number: by_requests(request))


def flask_session(url: str) -> Case:
    """Flask-Session, from the cookie to the answer, without Flask around it."""
    app = Flask("shop")

    def worker(number: int) -> Any:
        interface = RedisSessionInterface(app, redis.Redis.from_url(url))

        def request(session_id: str | None, page: Callable[[Any], None]) -> str:
            session = interface.open_session(app, SimpleNamespace(cookies={"session": session_id}))
            page(session)
            interface.save_session(app, session, app.response_class())
            return str(session.sid)

        return by_requests(request)

    return Case("Flask-Session", worker)


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the group by name."""
    return {"redis": on_redis}
