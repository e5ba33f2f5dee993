"""What only memcached can get wrong: generations instead of sets, several servers, rows that are evicted."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_memcached import LocalMemcached, memcached_url
from pymemcache import Client
from pymemcache.exceptions import MemcacheServerError
from waiting import wait_until

from costguard_core.cache.exact.stores import MemoryStore, open_cache_store
from costguard_core.cache.exact.stores import memcached as module
from costguard_core.cache.exact.stores.memcached import MemcachedDown, MemcachedStore
from costguard_core.errors import ConfigurationError, MissingExtraError

Servers = tuple[LocalMemcached, LocalMemcached]


@pytest.fixture
def store(memcached_servers: Servers) -> Iterator[MemcachedStore]:
    opened = MemcachedStore(memcached_url(*memcached_servers))
    yield opened
    opened.close()


@pytest.fixture
def server() -> Iterator[LocalMemcached]:
    with LocalMemcached() as server:
        yield server


TAGS = ["model=m", "model=n", "user=u", "user=v", "document=d"]
some_tags = st.sets(st.sampled_from(TAGS), max_size=4).map(sorted)
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from("abcde"), some_tags),
    st.tuples(st.just("invalidate"), st.just(""), some_tags.filter(bool)),
    st.tuples(st.sampled_from(["clear", "delete"]), st.sampled_from("ab"), st.just([])),
)


@settings(max_examples=50)
@given(st.lists(steps, max_size=25))
def test_serves_what_memory_serves(_memcached_for_examples: Servers, played: list[tuple[str, str, list[str]]]) -> None:
    for server in _memcached_for_examples:
        server.command("flush_all")
    store, memory = MemcachedStore(memcached_url(*_memcached_for_examples)), MemoryStore()
    for number, (what, key, tags) in enumerate(played):
        for each in (store, memory):
            if what == "put":
                each.put(key, str(number).encode(), tags=tags)
            elif what == "invalidate":
                each.invalidate(tags)
            elif what == "delete":
                each.delete(key)
            else:
                each.clear()
        assert [store.get(key) for key in "abcde"] == [memory.get(key) for key in "abcde"]
    store.close()


@pytest.fixture(scope="session")
def _memcached_for_examples(_shared_memcached: Servers) -> Servers:
    return _shared_memcached


@pytest.mark.parametrize("tags", [["user=u"], ["user=u", "model=m"], []])
def test_an_invalidation_during_a_put_wins(
    store: MemcachedStore, monkeypatch: pytest.MonkeyPatch, tags: list[str]
) -> None:
    marks = module._marks

    def slowly(*arguments: object) -> dict[str, tuple[str, int]]:
        found = marks(*arguments)  # type: ignore[arg-type]
        if tags:
            store.invalidate(tags)
        else:
            store.clear()
        return found

    monkeypatch.setattr(module, "_marks", slowly)
    store.put("k", b"old", tags=["model=m", "user=u"])
    assert store.get("k") is None


@pytest.mark.parametrize("kind", ["tag", "namespace"])
def test_a_generation_that_was_evicted_makes_misses_only(
    store: MemcachedStore, memcached_servers: Servers, kind: str
) -> None:
    for number in range(20):
        store.put(f"k{number}", b"v", tags=["user=u"])
    name = store._all if kind == "namespace" else store._name("tag", "user=u")
    for server in memcached_servers:
        assert server.command(f"delete {name}") == b"DELETED"
    store.invalidate(["user=u"])
    assert {store.get(f"k{number}") for number in range(20)} == {None}
    for number in range(20):
        store.put(f"new{number}", b"v", tags=["user=u"])  # makes the rows again, on both servers
    assert {store.get(f"k{number}") for number in range(20)} == {None}
    assert {store.get(f"new{number}") for number in range(20)} == {b"v"}


def test_too_many_combinations_invalidate_too_much_rather_than_too_little(store: MemcachedStore) -> None:
    count = 2 * module._MOST_COMBINATIONS
    for number in range(count):
        store.put(f"k{number}", b"v", tags=["document=d", f"user={number}"])
    for number in range(count):
        store.invalidate([f"user={number}", "document=d"])
        assert store.get(f"k{number}") is None
    store.put("k", b"v", tags=["document=d", "user=0"])
    store.invalidate(["document=d", "user=1"])
    assert store.get("k") == b"v"


def test_what_was_stored_elsewhere_or_by_others_is_a_miss(server: LocalMemcached) -> None:
    store, other = (MemcachedStore(memcached_url(server), namespace=name) for name in ("costguard", "other"))
    store.put("of-tenant-a", b"secret")
    other.put("theirs", b"v")
    with closing(Client(server.address)) as client:
        row = client.get(store._name("entry", "of-tenant-a"))
        client.set(store._name("entry", "of-tenant-b"), row, noreply=False)
        client.set(other._name("entry", "of-tenant-a"), row, noreply=False)
        assert (store.get("of-tenant-b"), other.get("of-tenant-a")) == (None, None)
        assert store.get("of-tenant-a") == b"secret"
        for forged in (b"", b"{}", b"[1]\n", b"[null, {}]\nx", b"[null, 5]\nx", b"\xff\n", row[:40], row[:21]):
            client.set(store._name("entry", "forged"), forged, noreply=False)
            assert store.get("forged") is None
        marked = json.dumps([None, {store._all: ["guessed", 0]}]).encode() + b"\nx"
        client.set(store._name("entry", "forged"), marked, noreply=False)
        assert store.get("forged") is None
    store.close()
    other.close()


def test_the_order_of_servers_does_not_matter(memcached_servers: Servers) -> None:
    one = MemcachedStore(memcached_url(*memcached_servers))
    two = MemcachedStore(memcached_url(*reversed(memcached_servers)))
    for number in range(40):
        one.put(str(number), b"v", tags=["user=u"])
    assert all(two.get(str(number)) for number in range(40))
    two.invalidate(["user=u"])
    assert not any(one.get(str(number)) for number in range(40))
    one.close()
    two.close()


def test_a_server_that_is_gone_costs_its_own_entries_only() -> None:
    with LocalMemcached() as first, LocalMemcached() as second:
        clock = [0.0]
        store = MemcachedStore(memcached_url(first, second), monotonic=lambda: clock[0])
        keys = [str(number) for number in range(40)]
        for key in keys:
            store.put(key, b"v", tags=["user=u"])
        mine = [key for key in keys if store._hash(store._name("entry", key)) == first.address]
        assert 0 < len(mine) < len(keys)
        second.stop()
        for key in keys:
            if key in mine:
                assert store.get(key) == b"v"
            else:
                with pytest.raises((MemcachedDown, OSError, MemcacheServerError)):
                    store.get(key)
        with pytest.raises(MemcachedDown, match=f"not done on {second.address}"):
            store.invalidate(["user=u"])
        assert not any(store.get(key) for key in mine)
        second.start()
        clock[0] += 60
        assert not any(store.get(key) for key in keys)
        for key in keys:
            store.put(key, b"new", tags=["user=u"])
        assert all(store.get(key) == b"new" for key in keys)
        store.close()


def test_a_server_that_hangs_costs_one_timeout(server: LocalMemcached) -> None:
    clock = [0.0]
    store = MemcachedStore(f"memcached://{server.address}", monotonic=lambda: clock[0])

    def stored() -> bool:
        clock[0] += 60
        try:
            store.put("k", b"v")
            return store.get("k") == b"v"
        except (OSError, MemcachedDown):
            return False

    wait_until(stored)
    server.pause()
    for _ in range(2):
        kinds = []
        for _ in range(20):
            with pytest.raises((OSError, MemcachedDown)) as failed:
                store.get("k")
            kinds.append(failed.type)
        assert kinds == [TimeoutError] + [MemcachedDown] * 19
        clock[0] += 1
    server.resume()
    wait_until(stored)
    store.close()


async def test_a_server_that_hangs_does_not_block_the_event_loop(server: LocalMemcached) -> None:
    store = MemcachedStore(memcached_url(server))
    await store.aput("k", b"v")
    server.pause()
    lookups = [asyncio.create_task(store.aget("k")) for _ in range(50)]
    for _ in range(9):
        await asyncio.sleep(0)
    assert not any(lookup.done() for lookup in lookups)
    server.resume()  # by this event loop, which it could not if it were blocked
    assert await asyncio.gather(*lookups) == [b"v"] * 50
    await store.aclose()


def test_a_value_that_is_too_large_is_no_sign_of_a_server_that_is_down(server: LocalMemcached) -> None:
    store = MemcachedStore(memcached_url(server), monotonic=lambda: 0.0)
    store.put("k", b"small")
    with pytest.raises(MemcacheServerError, match="too large"):
        store.put("k", b"x" * 3_000_000)
    assert store.get("k") is None  # not what it was to replace
    store.put("k", b"x" * 900_000)
    assert store.get("k") == b"x" * 900_000
    store.close()


def test_entries_of_any_length_of_life(store: MemcachedStore) -> None:
    for ttl in (0.5, 86_400.0 * 29, 86_400.0 * 365):
        store.put("k", b"v", ttl=ttl)
        assert store.get("k") == b"v" or ttl == 0.5


def test_survives_a_fork(store: MemcachedStore) -> None:
    store.put("parent", b"1")
    child = multiprocessing.get_context("fork").Process(target=_write_and_read, args=(store,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert [store.get(key) for key in ("parent", "child", "async")] == [b"1", b"2", b"3"]


def _write_and_read(store: MemcachedStore) -> None:
    store.put("child", b"2")
    asyncio.run(store.aput("async", b"3"))
    os._exit(0 if store.get("parent") == b"1" else 1)


def test_can_be_used_after_it_was_closed(store: MemcachedStore) -> None:
    store.put("k", b"v")
    store.close()
    assert store.get("k") == b"v"
    assert asyncio.run(store.aget("k")) == b"v"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("memcached://", "is no host:port"),
        ("memcached://a,,b", "is no host:port"),
        ("memcached://a:port", "is no host:port"),
        ("memcached://a:0", "is no host:port"),
        ("memcached://a,a:11211", "named twice"),
        ("memcached://user:hunter2@a", "no password"),
        ("memcached://a/0", "nothing comes after"),
        ("memcached://a?timeout=0", "above 0"),
        ("memcached://a?time=1", "the only option"),
    ],
)
def test_urls_that_cannot_be_used_say_why(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as failed:
        open_cache_store(url)
    assert "hunter2" not in str(failed.value)
    assert "memcached://host:11211" in str(failed.value)


@pytest.mark.parametrize("url", ["memcached://[::1]:11212,b", "memcached://A?timeout=0.2"])
def test_urls_that_can_be_used(url: str) -> None:
    servers = open_cache_store(url)._servers  # type: ignore[attr-defined]
    assert list(servers) in (["::1:11212", "b:11211"], ["a:11211"])


def test_without_its_library_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymemcache.client.rendezvous", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain-costguard\[memcached\]'"):
        open_cache_store("memcached://localhost")
