"""LangChain's own cache suites, on every store and on layers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite
from local_redis import with_long_timeouts

from langchain_costguard import ExactCache, LayeredCache

KINDS = ["memory", "sqlite", "redis", "layers", "foreign layer"]


@pytest.fixture(params=KINDS)
async def cache(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BaseCache]:
    match request.param:
        case "memory":
            yield ExactCache()
        case "sqlite":
            yield ExactCache(f"sqlite:///{tmp_path}/c.db")
        case "redis":
            cache = ExactCache(with_long_timeouts(request.getfixturevalue("redis_url")))
            yield cache
            await cache.engine.store.aclose()
        case "layers":
            yield LayeredCache([ExactCache(), ExactCache(f"sqlite:///{tmp_path}/c.db")])
        case _:
            yield LayeredCache([ExactCache(), InMemoryCache()])


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, cache: BaseCache) -> BaseCache:
        return cache


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, cache: BaseCache) -> BaseCache:
        return cache
