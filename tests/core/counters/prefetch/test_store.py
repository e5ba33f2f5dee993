"""Quota slices: a local share of a shared budget, with the cap as exact as without."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_redis import PATIENT

from costguard_core.counters.base import Denial, Gate, Grant, Line, Window
from costguard_core.counters.memory import MemoryStore
from costguard_core.counters.prefetch.store import SlicedStore
from costguard_core.counters.redis.store import RedisStore, open_redis
from costguard_core.errors import ConfigurationError

TOTAL = Window()
LEASE = 60.0


class CountingStore(MemoryStore):
    """A real store that counts the round trips it would have cost."""

    trips = 0

    def reserve(self, *args: object, **options: object) -> Grant | Denial:
        self.trips += 1
        return super().reserve(*args, **options)  # type: ignore[arg-type]

    def settle(self, *args: object, **options: object) -> object:  # type: ignore[override]
        self.trips += 1
        return super().settle(*args, **options)  # type: ignore[arg-type]


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def central(clock: Clock) -> CountingStore:
    return CountingStore(clock=clock)


@pytest.fixture
def sliced(central: CountingStore, clock: Clock) -> Iterator[SlicedStore]:
    store = SlicedStore(central, calls=20, max_age=2.0, monotonic=clock)
    yield store
    store.close()


def line(limit: int = 10_000, amount: int = 10, *, key: str = "k", unit: str = "usd", window: Window = TOTAL) -> Line:
    return Line(key, unit, window, limit, amount)


def granted(store: SlicedStore | MemoryStore, *lines: Line, id: str = "call", lease: float = LEASE) -> Grant:
    answer = store.reserve(id, lines, lease=lease)
    assert isinstance(answer, Grant), answer
    return answer


def spent(store: SlicedStore | MemoryStore | RedisStore, *lines: Line) -> list[tuple[int, int]]:
    return [(reading.settled, reading.held) for reading in store.read(lines)]


def test_twenty_calls_cost_one_pair_of_round_trips(central: CountingStore, sliced: SlicedStore) -> None:
    for number in range(20):
        sliced.settle(granted(sliced, line(), id=f"{number}"), {"usd": 7})
    sliced.drain()
    assert central.trips == 2
    assert spent(central, line()) == [(140, 0)]


def test_what_is_in_a_slice_is_held_for_everybody_else(central: CountingStore, sliced: SlicedStore) -> None:
    granted(sliced, line(limit=2000))
    assert spent(central, line()) == [(0, 200)]
    assert isinstance(central.reserve("other", [line(limit=2000, amount=1801)], lease=LEASE), Denial)


def test_a_slice_ends_when_the_last_of_its_calls_has(central: CountingStore, sliced: SlicedStore) -> None:
    first, second = granted(sliced, line()), granted(sliced, line())
    sliced.settle(first, {"usd": 3})
    sliced.drain()
    assert spent(central, line()) == [(0, 200)]
    sliced.settle(second, {"usd": 4})
    assert spent(central, line()) == [(7, 0)]


def test_each_unit_is_added_up_by_itself(central: CountingStore, sliced: SlicedStore) -> None:
    lines = (
        line(key="usd"),
        line(key="tokens", unit="tokens", amount=100),
        line(key="calls", unit="requests", amount=1),
    )
    for _ in range(3):
        sliced.settle(granted(sliced, *lines), {"usd": 5, "tokens": 60, "requests": 1})
    sliced.drain()
    assert spent(central, *lines) == [(15, 0), (180, 0), (3, 0)]


def test_a_call_that_costs_more_than_it_held_counts_in_full(central: CountingStore, sliced: SlicedStore) -> None:
    sliced.settle(granted(sliced, line()), {"usd": 999})
    assert granted(sliced, line(), id="next").id  # from a new slice: the old one is more than used up
    assert spent(central, line()) == [(999, 200)]


def test_no_slice_takes_more_than_a_tenth_of_a_limit(central: CountingStore, sliced: SlicedStore) -> None:
    granted(sliced, line(limit=1000), line(key="roomy", limit=10**6))
    assert spent(central, line(), line(key="roomy")) == [(0, 100), (0, 100)]


def test_small_limits_are_not_sliced_and_are_exact(central: CountingStore, sliced: SlicedStore) -> None:
    answers = [sliced.reserve(f"{n}", [line(limit=100)], lease=LEASE) for n in range(32)]
    assert sum(isinstance(answer, Grant) for answer in answers) == 10
    assert spent(central, line()) == [(0, 100)]


def test_an_unused_slice_does_not_refuse_others_of_its_process(sliced: SlicedStore) -> None:
    everyone = line(key="everyone", limit=100, amount=1)
    sliced.settle(granted(sliced, everyone, line(key="u1")), {"usd": 1})  # leaves nine of a slice unused
    assert isinstance(sliced.reserve("big", [everyone._replace(amount=99)], lease=LEASE), Grant)


def test_an_old_slice_is_closed(central: CountingStore, sliced: SlicedStore, clock: Clock) -> None:
    sliced.settle(granted(sliced, line()), {"usd": 5})
    clock.now += 2.1
    granted(sliced, line())
    assert spent(central, line()) == [(5, 200)]


def test_a_quiet_process_gives_its_slice_back(central: CountingStore) -> None:
    sliced = SlicedStore(central, calls=20, max_age=0.05)
    sliced.settle(granted(sliced, line()), {"usd": 5})
    assert eventually(lambda: spent(central, line()) == [(5, 0)])


@pytest.mark.parametrize("window", [Window(60.0), Window(edges=(1.7e9, 1.8e9 - 5, 1.8e9 + 5, 1.9e9))])
def test_a_slice_does_not_reach_into_the_next_bucket(
    central: CountingStore, sliced: SlicedStore, clock: Clock, window: Window
) -> None:
    sliced = SlicedStore(central, max_age=3600.0, monotonic=clock)
    before = granted(sliced, line(window=window))
    clock.now += 5.0
    after = granted(sliced, line(window=window))
    assert before.placed[0].bucket < after.placed[0].bucket <= clock.now


def test_settling_twice_does_nothing(central: CountingStore, sliced: SlicedStore) -> None:
    grant = granted(sliced, line())
    assert sliced.settle(grant, {"usd": 7}).totals == (7,)
    sliced.settle(grant, {"usd": 7})
    sliced.drain()
    assert sliced.settle(grant, {"usd": 7}).totals == (7,)
    assert spent(central, line()) == [(7, 0)]


def test_totals_go_on_from_slice_to_slice(sliced: SlicedStore) -> None:
    totals = [sliced.settle(granted(sliced, line(), id=f"{n}"), {"usd": 10}).totals for n in range(45)]
    assert totals == [(10 * (n + 1),) for n in range(45)]


@pytest.mark.parametrize("actual", [0, 4, 25])
def test_a_call_that_nobody_ends_is_charged_told_and_corrected(
    central: CountingStore, clock: Clock, actual: int
) -> None:
    sliced = SlicedStore(central, max_age=0.05)
    answer = sliced.reserve("dead", [line()], lease=0.05, note="who it was")
    assert isinstance(answer, Grant)
    assert eventually(lambda: spent(central, line()) == [(10, 0)])  # its hold, not the slice's
    told = granted(sliced, line()).swept
    assert [(found.id, found.note, dict(found.amounts)) for found in told] == [("dead", "who it was", {"usd": 10})]
    sliced.drain()
    sliced.settle(answer, {"usd": actual})
    sliced.settle(answer, {"usd": 99})
    assert central.read([line()])[0].settled == actual


def test_a_killed_process_is_charged_its_slice(central: CountingStore, sliced: SlicedStore, clock: Clock) -> None:
    granted(sliced, line())
    clock.now += 1000
    swept = granted(central, line(key="another")).swept
    assert [dict(found.amounts) for found in swept] == [{"usd": 200}]
    assert spent(central, line()) == [(200, 0)]


def test_calls_behind_a_gate_go_to_the_store(central: CountingStore, sliced: SlicedStore) -> None:
    gate = Gate("g", 100, 60.0, 1.0, 1.0)
    grant = sliced.reserve("a", [line()], gates=[gate], lease=LEASE)
    assert isinstance(grant, Grant)
    assert sliced.settle(grant, {"usd": 101}, gates=[gate]).opened == ("g",)
    assert sliced.read_gate(gate).state == "open"


def test_a_trip_takes_effect_at_once(sliced: SlicedStore) -> None:
    granted(sliced, line())
    sliced.trip("stop")
    answer = sliced.reserve("b", [line()], lease=LEASE)
    assert isinstance(answer, Denial)
    assert (answer.reason, sliced.tripped()) == ("tripped", "stop")


def test_a_forked_child_does_not_spend_the_slices_of_its_parent(redis_url: str) -> None:
    sliced = SlicedStore(RedisStore(redis_url, timeout=PATIENT))
    granted(sliced, line())
    child = multiprocessing.get_context("fork").Process(target=_spend_one, args=(sliced,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert sliced.read([line()])[0] == (10, 200, None)
    sliced.close()


def _spend_one(store: SlicedStore) -> None:
    store.settle(granted(store, line()), {"usd": 10})
    store.close()


async def test_async_twins(central: CountingStore, sliced: SlicedStore) -> None:
    async def call(number: int) -> None:
        grant = await sliced.areserve(f"{number}", [line()], lease=LEASE)
        assert isinstance(grant, Grant)
        await asyncio.sleep(0)
        assert (await sliced.asettle(grant, {"usd": 7})).totals

    await asyncio.gather(*map(call, range(60)))
    await sliced.aclose()
    assert spent(central, line()) == [(420, 0)]
    assert central.trips < 20


def test_the_options_of_a_url(redis_url: str) -> None:
    store = open_redis(f"{redis_url}?slice_calls=20&prefix=mine")
    assert isinstance(store, SlicedStore)
    assert store.url == redis_url
    store.close()
    with pytest.raises(ConfigurationError, match="slice_calls"):
        open_redis(f"{redis_url}?slice_calls=some")


Step = tuple[int, int, int]  # which store, hold, actual in percent of the hold


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 100)), max_size=120))
def test_several_processes_never_pass_the_limit(_shared_url: str, steps: list[Step]) -> None:
    """At every instant settled + held <= limit, and in the end the counters say what was really spent."""
    limit, number = 1000, uuid.uuid4()
    stores = [SlicedStore(RedisStore(_shared_url, prefix=f"{number}", timeout=PATIENT), calls=20) for _ in range(3)]
    look = RedisStore(_shared_url, prefix=f"{number}", timeout=PATIENT)
    really, running = 0, []
    for which, hold, percent in steps:
        answer = stores[which].reserve("x", [line(limit, hold)], lease=LEASE)
        if isinstance(answer, Grant):
            running.append((stores[which], answer, hold * percent // 100))
        if len(running) > 4:
            store, grant, actual = running.pop(0)
            store.settle(grant, {"usd": actual})
            really += actual
        assert sum(spent(look, line())[0]) <= limit
    for store, grant, actual in running:
        store.settle(grant, {"usd": actual})
        really += actual
    for store in stores:
        store.close()
    assert spent(look, line()) == [(really, 0)]
    look.close()


@pytest.fixture(scope="module")
def _shared_url(_shared_redis: object) -> str:
    return _shared_redis.url  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("stores", [1, 4])
def test_a_budget_is_used_up_by_threads_of_several_stores(redis_url: str, stores: int) -> None:
    limit, cent = 2000, 1
    fronts = [SlicedStore(RedisStore(redis_url, timeout=PATIENT), calls=20, max_age=0.2) for _ in range(stores)]
    passed = []

    def caller(number: int) -> None:
        store = fronts[number % stores]
        for attempt in range(400):
            answer = store.reserve(f"{number}-{attempt}", [line(limit, cent)], lease=LEASE)
            if isinstance(answer, Grant):
                passed.append(cent)
                store.settle(answer, {"usd": cent})
            else:
                store.drain()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    for store in fronts:
        store.drain()
    settled, held = spent(fronts[0], line())[0]
    assert (settled, held) == (sum(passed), 0)
    assert 0.98 * limit <= settled <= limit
    for store in fronts:
        store.close()


def eventually(is_so: Callable[[], bool], *, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
