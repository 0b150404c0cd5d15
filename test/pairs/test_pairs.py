"""``make test-pairs``: every adapter on every store that processes share.

``make test`` has each adapter on the directory store, and a sample of these: each adapter on another store.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from servers_couchdb import StrictServer
from servers_durus import CANNOT_WRITE, DurusServer
from servers_redis import RedisServer
from servers_sql import MariaServer, PostgresServer

from session2.testing import AdapterSuite
from session2.testing.adapter.website import Site
from session2.urls import from_url

EVERYTHING = "SESSION2_PAIRS" in os.environ

SAMPLE = ("test_every_server_knows_the_session", "test_parallel_requests_lose_nothing",
          "test_logout_during_a_slow_request")

ADAPTERS = Path(__file__).parents[1] / "adapters"

_numbers = itertools.count()


@cache
def server(kind: Callable[[], Any]) -> Any:
    """Return a server that all pairs of this process share."""
    started = kind()
    atexit.register(started.close)
    return started


_durus: dict[Path, DurusServer] = {}
"""Servers of Durus by folder: each keeps one store, and a file without a server is for one process."""


def durus(folder: Path) -> str:
    if folder not in _durus:
        _durus[folder] = DurusServer(folder / "durus").start()
    return _durus[folder].url


def cached(folder: Path) -> str:
    cache, store = f"{server(RedisServer).url}?prefix={next(_numbers)}:", f"sqlite:{folder}/store?create=true"
    return f"cached:?cache={quote(cache, '')}&store={quote(store, '')}&max_stale_count=1"


STORES: dict[str, Callable[[Path], str]] = {
    "SQLite": lambda folder: f"sqlite:{folder}/store?create=true",
    "Shelve": lambda folder: f"shelve:{folder}/store?create=true",
    "Durus": durus,
    "Postgres": lambda folder: f"{server(PostgresServer).url}?table=t{next(_numbers)}",
    "MySQL": lambda folder: f"{server(MariaServer).url}?table=t{next(_numbers)}",
    "Redis": lambda folder: f"{server(RedisServer).url}?prefix={next(_numbers)}:",
    "CouchDB": lambda folder: f"{server(StrictServer).url}-{next(_numbers)}",
    "Cached": cached,
}
"""Not memcached and not cookies: the suite looks at what is stored, and they cannot list it."""

if CANNOT_WRITE:
    del STORES["Durus"]


def suites() -> Iterator[type[AdapterSuite]]:
    """Find the adapters where they are tested, but for those that are tested there on a store of their choice."""
    for path in sorted(ADAPTERS.glob("test_*.py")):
        if "AdapterSuite" in path.read_text():
            spec = importlib.util.spec_from_file_location(f"pairs_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            yield from (found for found in vars(module).values() if isinstance(found, type)
                        and issubclass(found, AdapterSuite) and found is not AdapterSuite
                        and found.store_url == AdapterSuite.store_url)


def pair(suite: type[AdapterSuite], url: Callable[[Path], str]) -> type[AdapterSuite]:
    """Return the suite on another store."""
    class Pair(suite):  # type: ignore[misc, valid-type]
        @classmethod
        def teardown_class(cls) -> None:
            while _durus:
                _durus.popitem()[1].stop()

        # They take the folder of the store away, which is how the directory store fails.
        test_store_that_is_down = test_store_that_goes_down_during_the_request = None

        @classmethod
        def start(cls, folder: Path, processes: int = 1, **options: Any) -> Site:
            place = url(folder)
            with contextlib.closing(from_url(place)) as store:
                store.setup()
            return super().start(folder, processes, store_url=place.replace("{", "{{").replace("}", "}}"), **options)

    for name in () if EVERYTHING else {name for name in dir(Pair) if name.startswith("test_")}.difference(SAMPLE):
        setattr(Pair, name, None)
    return Pair


def pairs() -> Iterator[tuple[type[AdapterSuite], tuple[str, Callable[[Path], str]]]]:
    """Choose what goes with what."""
    return itertools.product(suites(), STORES.items()) if EVERYTHING else zip(suites(), itertools.cycle(STORES.items()))


for _suite, (_name, _url) in pairs():
    assert f"{_suite.__name__}On{_name}" not in globals(), "two suites of one name"
    globals()[f"{_suite.__name__}On{_name}"] = pair(_suite, _url)
