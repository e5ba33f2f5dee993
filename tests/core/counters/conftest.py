"""A store as two processes have it, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moved_memory import shared_memory
from redis_clock import RedisClock

from costguard_core.counters.base import CounterStore
from costguard_core.counters.sqlite.store import SqliteStore


@pytest.fixture(params=["memory", "sqlite", "redis"])
def processes(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[list[CounterStore], Callable[[float], None]]]:
    """Two clients of one store, and what lets seconds pass."""
    if request.param == "memory":
        yield shared_memory()
    elif request.param == "sqlite":
        moved = [1_800_000_000.0]

        def move(seconds: float) -> None:
            moved[0] += seconds

        stores: list[Any] = [SqliteStore(tmp_path / "c.db", clock=lambda: moved[0]) for _ in range(2)]
        yield stores, move
        for store in stores:
            store.close()
    else:
        redis = RedisClock(request.getfixturevalue("redis_url"), monkeypatch)
        yield [redis.open_store(), redis.open_store()], redis.advance
        redis.close()
