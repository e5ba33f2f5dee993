"""Counters in a real Redis on a clock that the test moves: no test waits for a window or a lease to end."""

from __future__ import annotations

import hashlib

import pytest
import redis
from local_redis import BUSY_MACHINE_TIMEOUT

from costguard_core.counters.redis import protocol
from costguard_core.counters.redis.connection import Script
from costguard_core.counters.redis.store import RedisStore

_KEY = "the-time-of-this-test"
_SERVER_TIME = "redis.call('TIME')"
_TEST_TIME = f"cjson.decode(redis.call('GET', '{_KEY}'))"


class RedisClock:
    """The time that the store's scripts see instead of the server's own; also the local clock of its stores.

    Keys that the store lets Redis delete by itself still go by the server's clock.
    """

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._client = redis.Redis.from_url(url)
        self._url, self._now = url, 1_800_000_000.0
        self.advance(0.0)
        for name, script in vars(protocol).items():
            if isinstance(script, Script):
                source = script.source.replace(_SERVER_TIME, _TEST_TIME)
                assert source != script.source
                monkeypatch.setattr(protocol, name, Script(source, hashlib.sha1(source.encode()).hexdigest()))

    def open_store(self, **options: str) -> RedisStore:
        """A store that lives in this time."""
        store = RedisStore(self._url, timeout=BUSY_MACHINE_TIMEOUT, monotonic=lambda: self._now, **options)
        store.read([])  # from now on it knows the server's time
        return store

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._now += seconds
        whole, part = divmod(round(self._now * 1e6), 10**6)
        self._client.set(_KEY, f"[{whole},{part}]")

    def close(self) -> None:
        self._client.close()
