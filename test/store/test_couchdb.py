"""CouchDBSessionStore against pouchdb-server, and against a stand-in that is as strict as CouchDB."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from couch_strict import StrictServer
from servers_couchdb import PouchServer

from session2.store.couchdb import CouchDBSessionStore
from session2.testing import StoreSuite
from session2.testing.store.recipe import Recipe

_numbers = itertools.count()


def url_of(server: Any) -> str:
    """Return a URL under which nothing is yet."""
    return f"{server.url}-{next(_numbers)}"


class TestCouchDB(StoreSuite):
    store_class = CouchDBSessionStore
    scale = 0.05
    largest = 1_000_000

    @pytest.fixture
    def recipe(self, pouch: PouchServer) -> Recipe:
        return Recipe(CouchDBSessionStore, (url_of(pouch),))


class TestStrictCouchDB(StoreSuite):
    store_class = CouchDBSessionStore
    scale = 0.1
    largest = 5_900_000  # base64 makes four letters of three bytes, and a document may have 8,000,000

    @pytest.fixture
    def recipe(self, strict: StrictServer) -> Recipe:
        return Recipe(CouchDBSessionStore, (url_of(strict),))
