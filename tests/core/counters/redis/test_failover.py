"""Redis that moves, evicts, starts empty or is far away: it is followed, refused or waited for, and that is said."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from local_redis import BUSY_MACHINE_TIMEOUT, LocalClusterNode, LocalRedis, LocalSentinel
from relay import Relay
from waiting import async_wait_until, wait_until

from costguard_core.counters import open_store
from costguard_core.counters.base import Denial, Grant, Line, Window
from costguard_core.counters.redis.store import RedisStore
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.util.redis_address import RedisUrl

LINE = Line("k", "usd", Window(), 10**6, 10)
TIMEOUT = f"timeout={BUSY_MACHINE_TIMEOUT}"


def works(store: Any) -> bool:
    try:
        store.settle(store.reserve("call", [LINE], lease=60.0), {"usd": 1})
    except StoreUnavailable:
        return False
    return True


async def aworks(store: Any) -> bool:
    try:
        await store.asettle(await store.areserve("call", [LINE], lease=60.0), {"usd": 1})
    except StoreUnavailable:
        return False
    return True


def refusal(store: Any) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        store.reserve("call", [LINE], lease=60.0)
    return caught.value.cause


def replicates(server: LocalRedis) -> bool:
    with redis.Redis(port=server.port) as client:
        return client.info("replication").get("master_link_status") == "up"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[LocalRedis, LocalRedis]]:
    """A primary and its replica."""
    with LocalRedis(tmp_path) as primary, LocalRedis(tmp_path) as replica:
        assert replica.command("REPLICAOF", "127.0.0.1", str(primary.port)) == b"+OK"
        wait_until(lambda: replicates(replica))
        yield primary, replica


def fail_over(old: LocalRedis, new: LocalRedis) -> None:
    assert new.command("REPLICAOF", "NO", "ONE") == b"+OK"
    assert old.command("REPLICAOF", "127.0.0.1", str(new.port)) == b"+OK"
    wait_until(lambda: replicates(old))


class TestDemotedServer:
    """The address leads to the new primary; connections that are open lead to the old one, which is a replica now."""

    def test_threads_connect_anew(self, pair: tuple[LocalRedis, LocalRedis]) -> None:
        old, new = pair
        with Relay(old.port) as relay:
            store = open_store(f"redis://127.0.0.1:{relay.port}/0?{TIMEOUT}")
            assert works(store)
            fail_over(old, new)
            relay.target = new.port
            assert works(store)  # at once
            assert store.read([LINE])[0].settled == 2
            store.close()

    async def test_tasks_connect_anew(self, pair: tuple[LocalRedis, LocalRedis]) -> None:
        old, new = pair
        with Relay(old.port) as relay:
            store = open_store(f"redis://127.0.0.1:{relay.port}/0?{TIMEOUT}")
            assert all(await asyncio.gather(*(aworks(store) for _ in range(10))))
            await asyncio.to_thread(fail_over, old, new)
            relay.target = new.port
            assert all(await asyncio.gather(*(aworks(store) for _ in range(10))))
            await store.aclose()

    def test_a_replica_is_said_to_be_one(self, pair: tuple[LocalRedis, LocalRedis]) -> None:
        store = open_store(f"{pair[1].url}?{TIMEOUT}")
        assert "READONLY: it is a replica" in refusal(store)
        store.close()


class TestSentinel:
    @pytest.mark.slow
    async def test_the_server_that_the_sentinels_name_is_followed(self, tmp_path: Path) -> None:
        with LocalRedis(tmp_path) as old, LocalRedis(tmp_path) as new:
            new.command("REPLICAOF", "127.0.0.1", str(old.port))
            wait_until(lambda: replicates(new))
            with LocalSentinel(tmp_path, old) as sentinel, redis.Redis(port=sentinel.port) as asked:
                wait_until(lambda: asked.sentinel_slaves("mymaster"))
                url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/mymaster/0?{TIMEOUT}"
                store = open_store(url)
                assert works(store)
                assert await aworks(store)
                old.stop()
                await async_wait_until(lambda: works(store))
                await async_wait_until(lambda: aworks(store))
                assert asked.sentinel_get_master_addr_by_name("mymaster") == (b"127.0.0.1", new.port)
                await store.aclose()

    def test_a_service_that_they_do_not_know_is_named(self, tmp_path: Path, redis_server: LocalRedis) -> None:
        with LocalSentinel(tmp_path, redis_server) as sentinel:
            store = open_store(f"redis+sentinel://127.0.0.1:{sentinel.port}/other?{TIMEOUT}")
            assert f"no sentinel (127.0.0.1:{sentinel.port})" in refusal(store)
            assert "'other'" in refusal(store)
            store.close()

    @pytest.mark.slow
    async def test_many_callers_who_connect_at_once_do_not_disturb_each_other(
        self, tmp_path: Path, redis_server: LocalRedis
    ) -> None:
        """Each asks the sentinels: whoever has its answer must not close the connections on which others wait."""
        with LocalSentinel(tmp_path, redis_server) as sentinel:
            url = f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster?{TIMEOUT}"
            for _ in range(10):
                store = open_store(url)
                with ThreadPoolExecutor(16) as pool:
                    assert all(pool.map(works, [store] * 16))
                assert all(await asyncio.gather(*(aworks(store) for _ in range(16))))
                await store.aclose()

    def test_the_service_is_part_of_the_url(self) -> None:
        with pytest.raises(ConfigurationError, match="mymaster"):
            open_store("redis+sentinel://127.0.0.1:26379")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[LocalClusterNode]]:
    """Three nodes, each with a third of the slots."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(LocalClusterNode(tmp_path)) for _ in range(3)]
        for number, node in enumerate(nodes):
            node.add_slots(number * 5462, min((number + 1) * 5462, 16_384))
            node.command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
        wait_until(lambda: all(node.serves_among(3) for node in nodes))
        yield nodes


class TestCluster:
    async def test_any_node_will_do(self, cluster: list[LocalClusterNode]) -> None:
        for node in cluster:
            store = open_store(f"redis+cluster://127.0.0.1:{node.port}?{TIMEOUT}")
            assert works(store)
            assert await aworks(store)
            await store.aclose()
        store = open_store(f"redis+cluster://127.0.0.1:{cluster[0].port}?{TIMEOUT}")
        assert store.read([LINE])[0].settled == 6
        store.close()

    def test_another_node_is_asked_when_the_first_is_gone(self, cluster: list[LocalClusterNode]) -> None:
        nodes = ",".join(f"127.0.0.1:{node.port}" for node in cluster)
        for node in cluster:
            node.command("CONFIG", "SET", "cluster-require-full-coverage", "no")
        store = RedisStore(f"redis+cluster://{nodes}", timeout=BUSY_MACHINE_TIMEOUT)
        served_by = next(node for node in cluster if node.command("GET", "{costguard}:epoch").startswith(b"$"))
        next(node for node in cluster if node is not served_by).stop()
        wait_until(lambda: works(store))
        store.close()

    def test_a_plain_url_of_a_node_says_what_to_use(self, cluster: list[LocalClusterNode]) -> None:
        elsewhere = next(node for node in cluster if node.command("GET", "{costguard}:epoch").startswith(b"-MOVED"))
        store = open_store(f"{elsewhere.url}?{TIMEOUT}")
        assert "use redis+cluster://" in refusal(store)
        store.close()

    def test_a_cluster_that_is_down_is_said_to_be(self, tmp_path: Path) -> None:
        with LocalClusterNode(tmp_path) as node:
            store = open_store(f"redis+cluster://127.0.0.1:{node.port}?{TIMEOUT}")
            assert refusal(store).startswith("CLUSTERDOWN")
            store.close()


class TestEviction:
    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
    async def test_a_server_that_may_evict_is_refused_with_the_setting_to_change(
        self, redis_server: LocalRedis, policy: str
    ) -> None:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", policy)
        store = open_store(f"{redis_server.url}?{TIMEOUT}")
        assert f"its maxmemory-policy is {policy}" in refusal(store)
        assert not await aworks(store)
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await async_wait_until(lambda: works(store))
        assert await aworks(store)
        await store.aclose()

    def test_it_can_be_accepted(self, redis_server: LocalRedis) -> None:
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        store = open_store(f"{redis_server.url}?{TIMEOUT}&allow_eviction=true")
        assert works(store)
        store.close()
        with pytest.raises(ConfigurationError, match="allow_eviction"):
            open_store(f"{redis_server.url}?allow_eviction=maybe")

    def test_a_policy_that_is_changed_later_is_noticed(self, redis_server: LocalRedis) -> None:
        moment = [0.0]
        store = RedisStore(redis_server.url, timeout=BUSY_MACHINE_TIMEOUT, monotonic=lambda: moment[0])
        assert works(store)
        redis_server.command("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        moment[0] += 61.0
        assert "volatile-lru" in refusal(store)
        store.close()

    def test_a_server_that_does_not_tell_is_used_with_a_warning(
        self, redis_server: LocalRedis, caplog: pytest.LogCaptureFixture
    ) -> None:
        redis_server.command("ACL", "SETUSER", "default", "-info")
        store = open_store(f"{redis_server.url}?{TIMEOUT}")
        with caplog.at_level(logging.WARNING, "costguard"):
            assert works(store)
            assert works(store)
        assert caplog.text.count("does not tell its maxmemory-policy") == 1
        store.close()


class TestCannotWrite:
    def test_a_full_server_is_said_to_be_full_and_what_it_could_not_count_is_counted_later(
        self, redis_server: LocalRedis
    ) -> None:
        store = open_store(f"{redis_server.url}?{TIMEOUT}")
        grant = store.reserve("call", [LINE], lease=60.0)
        assert isinstance(grant, Grant)
        redis_server.command("CONFIG", "SET", "maxmemory", "1")
        assert refusal(store).startswith("its memory is full (maxmemory)")
        with pytest.raises(StoreUnavailable):
            store.settle(grant, {"usd": 7})
        redis_server.command("CONFIG", "SET", "maxmemory", "0")
        assert store.settle(grant, {"usd": 7}).totals == (7,)
        assert store.read([LINE])[0][:2] == (7, 0)
        store.close()

    async def test_one_without_the_replicas_that_it_wants_says_so(self, redis_server: LocalRedis) -> None:
        with redis.Redis(port=redis_server.port) as client:
            if client.info("server")["redis_version"].startswith("6."):
                pytest.skip("before Redis 7 scripts write all the same")
        redis_server.command("CONFIG", "SET", "min-replicas-to-write", "1")
        store = open_store(f"{redis_server.url}?{TIMEOUT}")
        assert "too few replicas" in refusal(store)
        assert not await aworks(store)
        await store.aclose()


class TestStartedEmpty:
    async def test_it_is_said_once(self, redis_server: LocalRedis, caplog: pytest.LogCaptureFixture) -> None:
        store = open_store(f"{redis_server.url}?{TIMEOUT}")
        with caplog.at_level(logging.WARNING, "costguard"):
            assert works(store)
            assert "began anew" not in caplog.text
            redis_server.restart_empty()
            await async_wait_until(lambda: works(store))
            assert await aworks(store)
        assert caplog.text.count("began anew") == 1
        await store.aclose()

    def test_a_flushed_database_too(self, redis_server: LocalRedis, caplog: pytest.LogCaptureFixture) -> None:
        store = open_store(f"{redis_server.url}?{TIMEOUT}")
        assert works(store)
        redis_server.command("FLUSHALL")
        with caplog.at_level(logging.WARNING, "costguard"):
            assert works(store)
        assert "began anew" in caplog.text
        store.close()

    def test_a_server_that_kept_its_data_is_not_taken_for_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with LocalRedis(tmp_path, "--appendonly", "yes", "--appendfsync", "always") as server:
            store = open_store(f"{server.url}?{TIMEOUT}")
            assert works(store)
            server.stop()
            server.start()
            with caplog.at_level(logging.WARNING, "costguard"):
                wait_until(lambda: works(store))
            assert "began anew" not in caplog.text
            assert store.read([LINE])[0].settled >= 2
            store.close()


class TestFarAway:
    """Round trips of 20 ms and more, with a password: connecting takes longer than a decision may."""

    @pytest.mark.parametrize("delay", [0.02, 0.04])
    async def test_threads_and_tasks_connect(self, redis_server: LocalRedis, delay: float) -> None:
        redis_server.command("CONFIG", "SET", "requirepass", "open")
        with Relay(redis_server.port, delay=delay) as relay:
            store = open_store(f"redis://:open@127.0.0.1:{relay.port}/1")
            await async_wait_until(lambda: works(store))
            await async_wait_until(lambda: aworks(store))  # a busy machine may be slower than its time-out allows
            await store.aclose()


@pytest.mark.slow
async def test_a_thousand_tasks_are_all_served(redis_url: str) -> None:
    store = open_store(f"{redis_url}?{TIMEOUT}")
    results = await asyncio.gather(*(aworks(store) for _ in range(1000)))
    assert Counter(results) == {True: 1000}
    assert store.read([LINE])[0][:2] == (1000, 0)
    await store.aclose()


def test_late_settlements_are_counted_once(redis_url: str) -> None:
    store = RedisStore(redis_url, timeout=BUSY_MACHINE_TIMEOUT)
    grant = store.reserve("late", [LINE], lease=60.0)
    assert isinstance(grant, Grant)
    store.settle(grant, {"usd": 4})
    long_ago = grant._replace(id="forgotten-since", at=grant.at - 5 * 3600.0)
    assert store.settle(long_ago, {"usd": 4}).totals == (4,)
    assert store.settle(grant._replace(id="lost-just-now"), {"usd": 4}).totals == (8,)
    store.close()


class TestUrls:
    def test_parts(self) -> None:
        plain = RedisUrl.read("rediss://u:p%40@h:7000/2")
        assert (plain.kind, plain.nodes, plain.tls, plain.options["db"]) == ("", (("h", 7000),), True, 2)
        assert (plain.options["username"], plain.options["password"]) == ("u", "p@")
        sentinel = RedisUrl.read("redis+sentinel://:p@a,b:5/name/3?sentinel_password=s")
        assert (sentinel.kind, sentinel.nodes, sentinel.service) == ("sentinel", (("a", 26_379), ("b", 5)), "name")
        assert (sentinel.options["password"], sentinel.options["db"]) == ("p", 3)
        assert sentinel.sentinel_options == {"password": "s"}
        encrypted = RedisUrl.read("rediss+sentinel://a/name?sentinel_password=s&ssl_ca_certs=ca.crt")
        assert encrypted.sentinel_options == {"password": "s", "ssl": True, "ssl_ca_certs": "ca.crt"}
        assert RedisUrl.read("rediss+sentinel://a/name?sentinel_tls=false").sentinel_options == {}
        cluster = RedisUrl.read("rediss+cluster://[::1]:7000,h")
        assert (cluster.kind, cluster.nodes, cluster.tls) == ("cluster", (("::1", 7000), ("h", 6379)), True)

    @pytest.mark.parametrize(
        "url",
        [
            "redis+cluster://:s3cret@h:x",
            "redis+cluster://:s3cret@h/3",
            "redis+sentinel://:s3cret@,/name",
            "redis+sentinel://:s3cret@h/0?master=mymaster",
        ],
    )
    def test_what_cannot_be_used_is_refused_without_its_password(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            open_store(url)
        assert "s3cret" not in str(caught.value)

    def test_secrets_are_not_shown(self) -> None:
        store = open_store("redis+sentinel://u:s3cret@127.0.0.1:1,127.0.0.1:2/name?sentinel_password=oth3r")
        assert store.url == "redis+sentinel://127.0.0.1:1,127.0.0.1:2/name"
        with pytest.raises(StoreUnavailable) as caught:
            store.reserve("a", [LINE], lease=60.0)
        assert not any(secret in str(caught.value) for secret in ("s3cret", "oth3r"))


def test_a_denial_is_noticed_to_come_from_the_same_server(redis_url: str) -> None:
    store = RedisStore(redis_url, timeout=BUSY_MACHINE_TIMEOUT)
    assert isinstance(store.reserve("a", [LINE._replace(limit=5)], lease=60.0), Denial)
    assert works(store)
    store.close()
