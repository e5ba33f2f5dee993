"""What is special about counters in Redis: its clock, its numbers, its keys and its clients."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.cluster
from local_redis import BUSY_MACHINE_TIMEOUT, LocalClusterNode
from redis.exceptions import ResponseError
from redis_clock import RedisClock
from waiting import wait_until

from costguard_core.counters import open_store
from costguard_core.counters.base import Denial, Gate, Grant, Line, Window
from costguard_core.counters.redis.protocol import LARGEST
from costguard_core.counters.redis.store import RedisStore
from costguard_core.errors import ConfigurationError, StoreUnavailable
from costguard_core.util.redis_address import RedisUrl, Target
from costguard_core.util.redis_clients import ReplyDeadline, current_deadline, open_async_client

LEASE = 60.0
TOTAL = Window()


def line(key: str = "k", limit: int = 100, amount: int = 10, *, unit: str = "usd", window: Window = TOTAL) -> Line:
    return Line(key, unit, window, limit, amount)


def day() -> Window:
    start = math.floor(time.time() / 86_400) * 86_400.0
    return Window(edges=(start - 86_400, start, start + 86_400, start + 172_800))


LINES = (
    line("minute", window=Window(60.0)),
    line("day", window=day()),
    line("all"),
    line("calls", 5, 1, unit="requests"),
)
GATE = Gate("g", 1000, 60.0, 1.0, 1.0)


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore(redis_url, timeout=BUSY_MACHINE_TIMEOUT)
    yield store
    store.close()


@pytest.fixture
def redis_clock(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisClock]:
    clock = RedisClock(redis_url, monkeypatch)
    yield clock
    clock.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def granted(store: RedisStore, *lines: Line, id: str = "call", lease: float = LEASE) -> Grant:
    answer = store.reserve(id, lines, gates=(GATE,), lease=lease)
    assert isinstance(answer, Grant), answer
    return answer


class TestKeys:
    def test_all_share_one_hash_tag_and_only_totals_stay_for_ever(self, store: RedisStore, server: Any) -> None:
        store.settle(granted(store, *LINES, id="ended"), {"usd": 5, "requests": 1}, gates=(GATE,))
        granted(store, *LINES, id="running")
        granted(store, line("all"), id="dead", lease=0.01)
        wait_until(lambda: granted(store, line("all", amount=0), id="sweeps").swept)
        store.claim("alert", 5.0)
        keys = {key.decode(): server.ttl(key) for key in server.keys()}
        assert len(keys) >= 10
        assert all(key.startswith("{costguard}:") for key in keys)
        lasting = {key.removeprefix("{costguard}:") for key, seconds in keys.items() if seconds < 0}
        assert lasting == {"counter:all", "counter:calls", "scopes", "epoch"}

    def test_a_counter_outlives_its_window_and_every_lease_on_it(self, store: RedisStore, server: Any) -> None:
        granted(store, line("minute", window=Window(60.0)), lease=7200.0)
        assert server.ttl("{costguard}:counter:minute") > 7200
        granted(store, line("minute", window=Window(60.0)), id="short", lease=1.0)
        assert server.ttl("{costguard}:counter:minute") > 7200

    def test_prefixes_do_not_see_each_other(self, store: RedisStore, redis_url: str) -> None:
        granted(store, line())
        other = open_store(f"{redis_url}?prefix=other&timeout={BUSY_MACHINE_TIMEOUT}")
        assert other.read([line()])[0].held == 0
        other.close()

    @pytest.mark.parametrize("prefix", ["", "a{b", "}"])
    def test_a_prefix_that_would_break_the_tag(self, redis_url: str, prefix: str) -> None:
        with pytest.raises(ConfigurationError, match="prefix"):
            RedisStore(redis_url, prefix=prefix, timeout=BUSY_MACHINE_TIMEOUT)

    def test_old_buckets_are_dropped(self, redis_clock: RedisClock, server: Any) -> None:
        store, window = redis_clock.open_store(), Window(0.12)
        for number in range(30):
            store.settle(granted(store, line("fast", 10**6, window=window), id=f"{number}"), {"usd": 1})
            redis_clock.advance(0.01)
        assert server.hlen("{costguard}:counter:fast") <= 15
        store.close()

    def test_old_periods_are_dropped(self, redis_clock: RedisClock, server: Any) -> None:
        store = redis_clock.open_store()
        start = store.now()
        ends = [start - 50 + n / 10 for n in range(1000)]  # periods of a tenth of a second
        for number in range(5):
            now = store.now()
            current = max(n for n, edge in enumerate(ends) if edge <= now)
            window = Window(edges=tuple(ends[current - 1 : current + 3]))
            store.settle(granted(store, line("short", window=window), id=f"{number}"), {"usd": 1})
            redis_clock.advance(0.11)
        assert server.hlen("{costguard}:counter:short") <= 6  # three periods, settled and held
        store.close()


class TestGates:
    def opened(self, store: RedisStore, number: int) -> Gate:
        gate = GATE._replace(key=f"g{number}", threshold=0)
        grant = store.reserve(f"opens-{number}", [line("roomy", 10**6)], gates=(gate,), lease=LEASE)
        assert isinstance(grant, Grant)
        assert store.settle(grant, {"usd": 1}, gates=(gate,)).opened == (gate.key,)
        return gate

    def test_those_that_opened_for_users_who_left_are_forgotten(self, redis_clock: RedisClock, server: Any) -> None:
        store = redis_clock.open_store()
        for number in range(15):
            self.opened(store, number)
        assert server.zcard("{costguard}:gates") == 15
        redis_clock.advance(2 * 3600.0)
        self.opened(store, 15)
        assert server.zcard("{costguard}:gates") == 1
        store.close()

    def test_a_reset_closes_thousands_and_those_of_an_earlier_version(self, store: RedisStore, server: Any) -> None:
        gates = [self.opened(store, number) for number in range(2)]
        server.zadd("{costguard}:gates", {f"{{costguard}}:gate:z{number}": 9e9 for number in range(1200)})
        server.sadd("{costguard}:open-gates", "{costguard}:gate:g-before")
        server.hset("{costguard}:gate:g-before", "until", "9000000000")
        store.reset()
        assert [store.read_gate(gate).state for gate in gates] == ["closed", "closed"]
        assert store.read_gate(GATE._replace(key="g-before")).state == "closed"
        assert not server.exists("{costguard}:gates", "{costguard}:open-gates")


class TestNumbers:
    def test_the_largest_limit_is_exact(self, store: RedisStore) -> None:
        store.settle(granted(store, line(limit=LARGEST, amount=LARGEST - 1)), {"usd": LARGEST - 1})
        granted(store, line(limit=LARGEST, amount=1), id="last")
        denial = store.reserve("over", [line(limit=LARGEST, amount=1)], lease=LEASE)
        assert isinstance(denial, Denial)
        assert (denial.settled, denial.held) == (LARGEST - 1, 1)

    def test_a_larger_one_is_refused_before_anything_is_counted(self, store: RedisStore) -> None:
        with pytest.raises(ConfigurationError, match=r"\$9\.0 million"):
            store.reserve("a", [line(limit=LARGEST + 1)], lease=LEASE)
        with pytest.raises(ConfigurationError, match=r"\$9\.0 million"):
            store.reserve("a", [line()], gates=[GATE._replace(threshold=LARGEST + 1)], lease=LEASE)

    def test_no_amount_is_rounded_on_its_way(self, store: RedisStore) -> None:
        amounts = [1, 999_999_999_999_999, 123_456_789_012_345, 10**15 + 1]
        for number, amount in enumerate(amounts):
            store.settle(granted(store, line(limit=LARGEST, amount=amount), id=f"{number}"), {"usd": amount})
        assert store.read([line()])[0].settled == sum(amounts)


class TestClock:
    def test_it_is_the_servers(self, store: RedisStore, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)  # a host that has lost its clock
        lost = RedisStore(store_url(server))
        assert lost.now() == pytest.approx(1_000_000_000.0, abs=60)
        lost.read([])
        seconds, micros = server.time()
        assert lost.now() == pytest.approx(seconds + micros / 1e6, abs=1.0)
        lost.close()

    def test_a_calendar_for_another_time_is_said_to_be_that(self, store: RedisStore) -> None:
        ancient = line(window=Window(edges=(1e9, 1e9 + 1, 1e9 + 2, 1e9 + 3)))
        for ask in (lambda: store.reserve("a", [ancient], lease=LEASE), lambda: store.read([ancient])):
            with pytest.raises(StoreUnavailable, match="calendar period"):
                ask()

    def test_a_reservation_survives_a_wrong_idea_of_the_servers_time(self, store: RedisStore) -> None:
        granted(store, line())
        store._clock._ahead -= 3600.0  # as after the server's clock was put forward
        granted(store, line(), id="next")
        store._clock._ahead += 3600.0
        granted(store, line(), id="after")
        assert store.now() == pytest.approx(time.time(), abs=5.0)


class TestClients:
    @pytest.mark.parametrize("options", [{}, {"decode_responses": True}, {"protocol": 3}])
    async def test_ready_made_ones(self, redis_url: str, options: dict[str, Any]) -> None:
        client = redis.Redis.from_url(redis_url, **options)
        async_client = redis.asyncio.Redis.from_url(redis_url, **options)
        await whole_story(RedisStore(redis_url, client=client, async_client=async_client))

    async def test_redis_cluster(self, tmp_path: Path) -> None:
        with LocalClusterNode(tmp_path) as node:
            node.add_slots(0, 16_384)
            with redis.Redis(port=node.port) as direct:
                wait_until(lambda: direct.cluster("info")["cluster_state"] == "ok")
            client = redis.cluster.RedisCluster(host="127.0.0.1", port=node.port)
            async_client = redis.asyncio.RedisCluster(host="127.0.0.1", port=node.port)
            await whole_story(RedisStore(node.url, client=client, async_client=async_client))
            slots = {client.keyslot(key) for key in client.keys(target_nodes=redis.cluster.RedisCluster.ALL_NODES)}
            assert len(slots) == 1
            for one in client.get_nodes():
                one.redis_connection.connection_pool.disconnect()  # `close` leaves them to the garbage collector


async def whole_story(store: RedisStore) -> None:
    """Every script and command once."""
    store.settle(granted(store, *LINES), {"usd": 5, "requests": 1}, gates=(GATE,))
    grant = await store.areserve("b", LINES, gates=(GATE,), lease=LEASE)
    assert isinstance(grant, Grant)
    assert (await store.asettle(grant, {"usd": 6, "requests": 1}, gates=(GATE,))).totals == (11, 11, 11, 2)
    denial = store.reserve("c", [line("all", amount=99)], lease=LEASE, note="ü")
    assert isinstance(denial, Denial)
    assert denial.settled == 11
    assert [reading.settled for reading in store.read(LINES)] == [11, 11, 11, 2]
    assert store.read_gate(GATE).rate == 11
    store.trip("stop ü")
    assert store.tripped() == "stop ü"
    store.reset()
    assert store.tripped() is None
    assert (store.claim("x", 300.0), await store.aclaim("x", 300.0)) == (True, False)
    assert set(store.scopes("")) == {"minute", "day", "all", "calls"}
    await store.aclose()


class TestReplyDeadline:
    def test_it_lasts_for_almost_two_timeouts(self) -> None:
        clock = iter(n * 0.01 for n in range(100))
        deadline = ReplyDeadline(0.05, monotonic=lambda: next(clock))
        assert [deadline.expired() for _ in range(9)] == [False] * 8 + [True]

    def test_a_starved_process_does_not_blame_the_server(self) -> None:
        clock = iter([0.0, 0.5, 1.0, *(1.0 + n / 100 for n in range(1, 10))])
        deadline = ReplyDeadline(0.05, monotonic=lambda: next(clock))
        assert [deadline.expired() for _ in range(11)] == [False] * 10 + [True]

    def test_it_ends_however_starved(self) -> None:
        clock = iter(float(n) for n in range(100))
        deadline = ReplyDeadline(0.05, monotonic=lambda: next(clock))
        assert sum(not deadline.expired() for _ in range(50)) < 20

    async def test_each_reply_while_connecting_counts_as_one_also_an_error(self, redis_url: str) -> None:
        """Servers before 7.2 answer CLIENT SETINFO with an error; of a far one that was taken for silence."""
        restarts: list[int] = []

        class Watched(ReplyDeadline):
            def restart(self, steps: int = 1) -> None:
                restarts.append(steps)
                super().restart(steps)

        url = RedisUrl.read(redis_url)
        client = open_async_client(url, Target(url), None)
        token = current_deadline.set(Watched(BUSY_MACHINE_TIMEOUT))
        try:
            await client.execute_command("PING")
            before = len(restarts)
            with pytest.raises(ResponseError):
                await client.execute_command("NO-SUCH-COMMAND")
            assert len(restarts) == before + 1
        finally:
            current_deadline.reset(token)
            await client.aclose()


def store_url(server: Any) -> str:
    found = server.connection_pool.connection_kwargs
    return f"redis://{found['host']}:{found['port']}/0"
