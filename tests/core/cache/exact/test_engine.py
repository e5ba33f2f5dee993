"""The engine over every store: answers, policy, faults, single flight within and across processes."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from multiprocessing.synchronize import Event as MultiprocessingEvent
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_memcached import memcached_url
from local_redis import with_long_timeouts
from waiting import async_wait_until, wait_until
from waiting_callers import waiting

from costguard_core.cache import Answer, AnswerCache, CacheKey, CachePolicy, MemoryStore, open_cache_store
from costguard_core.cache.answer import UnreadableAnswer, document_of, from_bytes, to_bytes
from costguard_core.cache.exact.singleflight import Owner
from costguard_core.types import Outcome, Usage

KEY = CacheKey("0" * 40, tags=("model=m",))
ANSWER = Answer(["hello"], usage=Usage(input_tokens=9, output_tokens=2, tier="flex"), cost=1230, model="m")


@pytest.fixture(params=["memory", "sqlite", "redis", "memcached"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "memcached":
        return memcached_url(*request.getfixturevalue("memcached_servers"))
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'cache.db'}"}
    return urls.get(request.param) or with_long_timeouts(request.getfixturevalue("redis_url"))


@pytest.fixture
async def cache(url: str) -> AsyncIterator[AnswerCache]:
    cache = AnswerCache(open_cache_store(url), rng=lambda: 0.5)
    yield cache
    await cache.store.aclose()


json_data = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_data, st.none() | st.integers(0), st.none() | st.integers(0, 10**9).map(lambda n: Usage(input_tokens=n)))
def test_an_answer_comes_back_as_it_was(payload: Any, cost: int | None, usage: Usage | None) -> None:
    answer = Answer(payload, cost=cost, usage=usage, model="m", created=1.5)
    assert from_bytes(to_bytes(answer)) == answer


@given(json_data)
def test_whoever_reads_an_answer_may_change_what_was_read(payload: Any) -> None:
    data = to_bytes(Answer([payload], created=1.5))
    read = document_of(data)
    assert read["p"] == [payload]
    _spoil(read)
    assert document_of(data)["p"] == [payload]


def _spoil(read: Any) -> None:
    """Change every list and dictionary in it."""
    for value in list(read.values() if isinstance(read, dict) else read):
        if isinstance(value, (dict, list)):
            _spoil(value)
    read.clear()


def test_an_answer_too_long_to_be_remembered_comes_back_as_it_was() -> None:
    answer = Answer(["x" * 100_000], model="m", created=1.5)
    assert from_bytes(to_bytes(answer)) == answer


@given(st.binary() | json_data.map(lambda value: json.dumps(value).encode()))
def test_foreign_bytes_are_never_an_answer(data: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        from_bytes(data)


def test_a_hit_says_what_it_saved(cache: AnswerCache) -> None:
    assert cache.lookup(KEY) is None
    assert cache.save(KEY, ANSWER) is None
    hit = cache.lookup(KEY)
    assert hit is not None
    assert (hit.answer.payload, hit.answer.usage, hit.answer.cost) == (["hello"], ANSWER.usage, 1230)
    assert (hit.outcome, hit.saved, hit.saved_usd) == (Outcome.EXACT, 1230, Decimal("0.00000123"))
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stored, stats.saved) == (1, 1, 1, 1230)


async def test_async_is_the_same(cache: AnswerCache) -> None:
    assert await cache.alookup(KEY) is None
    assert await cache.asave(KEY, ANSWER) is None
    hit = await cache.alookup(KEY)
    assert hit is not None
    assert await cache.ainvalidate(model="m") == (-1 if cache.store.url.startswith("memcached") else 1)
    assert await cache.alookup(KEY) is None
    await cache.asave(KEY, ANSWER)
    await cache.aclear()
    assert await cache.alookup(KEY) is None


def test_refresh_pays_again_and_keeps_the_new_answer(cache: AnswerCache) -> None:
    cache.save(KEY, ANSWER)
    fresh = CacheKey(KEY.digest, lookup=False)
    assert cache.lookup(fresh) is None
    with cache.flight(fresh) as handle:
        assert handle.cached is None
        handle.save(Answer(["new"]))
    hit = cache.lookup(KEY)
    assert hit is not None
    assert hit.answer.payload == ["new"]


def test_what_the_policy_rejects_is_not_stored(cache: AnswerCache) -> None:
    assert cache.save(KEY, Answer(["cut"], finish=("length",))) == "the answer is not complete"
    assert cache.save(KEY, Answer([object()])) == "the answer is not JSON"
    assert cache.save(CacheKey(KEY.digest, ttl=0), ANSWER) == "ttl"
    assert cache.lookup(KEY) is None
    assert cache.stats().declined == {"the answer is not complete": 1, "the answer is not JSON": 1, "ttl": 1}


@pytest.mark.parametrize(("drawn", "life"), [(0.0, 90.0), (0.5, 100.0), (0.999999, 110.0)])
def test_ttl_is_jittered(drawn: float, life: float) -> None:
    now = [0.0]
    cache = AnswerCache(MemoryStore(clock=lambda: now[0]), clock=lambda: now[0], rng=lambda: drawn)
    cache.save(CacheKey("k", ttl=100), ANSWER)
    now[0] = life - 1
    assert cache.lookup(CacheKey("k")) is not None
    now[0] = life + 1
    assert cache.lookup(CacheKey("k")) is None


@pytest.mark.parametrize("junk", [b"", b"\x80\x04\x95", b"null", b'{"v":1}', b'{"v":2,"p":[]}', b"[" * 100_000])
def test_foreign_values_are_misses_and_are_replaced(
    cache: AnswerCache, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cache.store.put(KEY.digest, junk)
    assert cache.lookup(KEY) is None
    assert cache.lookup(KEY) is None
    assert cache.stats().foreign == 2
    assert len(caplog.records) == 1
    cache.save(KEY, ANSWER)
    assert cache.lookup(KEY) is not None


class _Broken(MemoryStore):
    def get(self, key: str) -> bytes | None:
        raise OSError("disk of user hunter2 is gone")

    def put(self, key: str, value: bytes, *, tags: Sequence[str] = (), ttl: float | None = None) -> None:
        raise OSError("disk of user hunter2 is gone")


async def test_a_broken_store_costs_nobody_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    cache = AnswerCache(_Broken())
    with caplog.at_level(logging.WARNING):
        assert cache.lookup(KEY) is None
        assert await cache.alookup(KEY) is None
        with cache.flight(KEY) as handle:
            assert handle.leads
            assert handle.save(ANSWER) is None
        async with cache.aflight(KEY) as handle:
            assert handle.leads
            assert await handle.asave(ANSWER) is None
    assert cache.stats().errors >= 4
    assert len(caplog.records) == 1
    assert "hunter2" not in caplog.text


def test_a_redis_that_is_gone_is_a_row_of_misses() -> None:
    cache = AnswerCache(open_cache_store("redis://127.0.0.1:1"))
    for number in range(20):
        key = CacheKey(str(number))
        assert cache.lookup(key) is None
        with cache.flight(key) as handle:
            assert handle.leads
            handle.save(ANSWER)
    assert (cache.stats().misses, cache.stats().stored) == (20, 0)


def test_threads_pay_once(cache: AnswerCache) -> None:
    calls = []

    def ask(_: int) -> str:
        hit = cache.lookup(KEY)
        if hit is not None:
            return hit.outcome.value
        with cache.flight(KEY) as handle:
            if handle.cached is not None:
                return handle.cached.outcome.value
            calls.append(1)
            wait_until(lambda: cache.stats().misses == 16)  # nobody has found an answer
            handle.save(ANSWER)
            return "miss"

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(ask, range(16)))
    assert len(calls) == 1
    assert outcomes.count("miss") == 1
    stats = cache.stats()
    assert stats.misses == 1
    assert stats.hits + stats.coalesced == 15
    assert stats.saved == 15 * 1230


async def test_tasks_pay_once(cache: AnswerCache) -> None:
    calls = []

    async def ask() -> None:
        if await cache.alookup(KEY) is not None:
            return
        async with cache.aflight(KEY) as handle:
            if handle.cached is None:
                calls.append(1)
                await async_wait_until(lambda: cache.stats().misses == 50)
                await handle.asave(ANSWER)

    await asyncio.gather(*[ask() for _ in range(50)])
    assert len(calls) == 1


async def test_a_cancelled_leader_lets_the_next_one_try(cache: AnswerCache) -> None:
    calls, never = [], asyncio.Event()

    async def ask(name: str) -> None:
        async with cache.aflight(KEY) as handle:
            if handle.cached is None:
                calls.append(name)
                if name == "first":
                    await never.wait()
                await handle.asave(ANSWER)

    first = asyncio.create_task(ask("first"))
    await async_wait_until(lambda: calls)
    others = [asyncio.create_task(ask("other")) for _ in range(5)]
    await async_wait_until(lambda: waiting(cache._flights, KEY.digest) == 5)
    first.cancel()
    await asyncio.gather(*others)
    assert calls == ["first", "other"]


def test_a_leader_that_raises_lets_the_next_one_try(cache: AnswerCache) -> None:
    attempts = []

    def ask(_: int) -> str:
        with cache.flight(KEY) as handle:
            if handle.cached is not None:
                return "hit"
            attempts.append(1)
            if len(attempts) == 1:
                wait_until(lambda: waiting(cache._flights, KEY.digest) == 5)
                raise ConnectionError
            handle.save(ANSWER)
            return "paid"

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(ask, n) for n in range(6)]
        outcomes = [type(f.exception()).__name__ if f.exception() else f.result() for f in futures]
    assert len(attempts) == 2
    assert sorted(outcomes) == ["ConnectionError", "hit", "hit", "hit", "hit", "paid"]


def test_wait_zero_turns_single_flight_off(url: str) -> None:
    cache = AnswerCache(open_cache_store(url), CachePolicy(wait=0))
    with cache.flight(KEY) as one, cache.flight(KEY) as other:
        assert (one.leads, other.leads) == (False, False)
        assert other.save(ANSWER) is None
    assert cache.lookup(KEY) is not None


def test_who_comes_late_gets_the_stored_answer(cache: AnswerCache) -> None:
    """Looked up before the leader stored, boarded after it had landed."""
    assert cache.lookup(KEY) is None
    cache.save(KEY, ANSWER)
    with cache.flight(KEY) as handle:
        assert handle.cached is not None


@pytest.fixture(params=["sqlite", "redis", "memcached"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'c.db'}"
    if request.param == "memcached":
        return memcached_url(*request.getfixturevalue("memcached_servers"))
    return with_long_timeouts(request.getfixturevalue("redis_url"))


SPAWN = multiprocessing.get_context("spawn")


def _pay(url: str, log: Path, lease: float, ready: Barrier | None, answer: MultiprocessingEvent) -> None:
    cache = AnswerCache(open_cache_store(url), lease_seconds=lease)
    if ready is not None:
        ready.wait(120)
    with cache.flight(KEY) as handle:
        if handle.cached is None:
            with log.open("a") as file:
                file.write(f"{os.getpid()}\n")
            answer.wait(120)
            handle.save(ANSWER)


@pytest.mark.slow
def test_processes_pay_once(shared_url: str, tmp_path: Path) -> None:
    log, lease = tmp_path / "calls", 2.0
    ready, answer = SPAWN.Barrier(4), SPAWN.Event()
    children = [SPAWN.Process(target=_pay, args=(shared_url, log, lease, ready, answer)) for _ in range(3)]
    for child in children:
        child.start()
    ready.wait(120)
    time.sleep(1.5 * lease)  # a call that takes longer than a lease: it is renewed, and nobody else pays
    answer.set()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * 3
    assert len(log.read_text().split()) == 1


@pytest.mark.slow
def test_a_killed_leader_blocks_nobody_for_longer_than_its_lease(shared_url: str, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    never = SPAWN.Event()
    leader = SPAWN.Process(target=_pay, args=(shared_url, log, 1.0, None, never))
    leader.start()
    wait_until(log.exists)
    leader.kill()
    leader.join()
    cache = AnswerCache(open_cache_store(shared_url), CachePolicy(wait=3600), lease_seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        handle = pool.submit(cache.join, KEY, Owner("next")).result(60)
    assert handle.leads
    handle.fail()


def _leases_refused_by(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when the cache was told that another process holds the lease that it asked for."""
    refused, lease = threading.Event(), cache.store.lease

    def watched(key: str, owner: str, ttl: float) -> str:
        holder = lease(key, owner, ttl)
        if holder != owner:
            refused.set()
        return holder

    monkeypatch.setattr(cache.store, "lease", watched)
    return refused


def test_a_declined_answer_in_another_process_is_not_waited_for(
    shared_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (AnswerCache(open_cache_store(shared_url)) for _ in range(2))
    leading = one.join(KEY, Owner("one"))
    with ThreadPoolExecutor(1) as pool:
        refused = _leases_refused_by(other, monkeypatch)
        call = pool.submit(other.join, KEY, Owner("other"))
        assert refused.wait(60)
        assert not call.done()
        assert leading.save(Answer(["cut"], finish=("length",))) is not None
        handle = call.result(60)
    assert handle.cached is None
    handle.fail()


def test_invalidation_needs_a_tag(cache: AnswerCache) -> None:
    with pytest.raises(ValueError, match="at least one tag"):
        cache.invalidate()
