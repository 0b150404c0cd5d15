"""RedisSessionStore against a private Redis."""

from __future__ import annotations

import uuid

import pytest
from servers_redis import RedisServer

from session2.store.redis import RedisSessionStore
from session2.testing import StoreSuite
from session2.testing.store.recipe import Recipe


class TestRedis(StoreSuite):
    store_class = RedisSessionStore

    @pytest.fixture
    def recipe(self, redis_server: RedisServer) -> Recipe:
        return Recipe(RedisSessionStore, (redis_server.url,), {"prefix": f"{uuid.uuid4().hex}:"})
