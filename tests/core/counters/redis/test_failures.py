"""Redis that refuses, hangs, forgets or comes back: a decision in time, and nothing counted twice or for nobody."""

from __future__ import annotations

import asyncio
import gc
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from local_redis import BUSY_MACHINE_TIMEOUT, LocalRedis
from waiting import SAFETY_LIMIT, async_wait_until, takes_less_than, wait_until

from costguard_core.counters.base import Denial, Grant, Line, Window
from costguard_core.counters.redis.connection import IN_FLIGHT, LONGEST_PAUSE
from costguard_core.counters.redis.store import RedisStore
from costguard_core.errors import ConfigurationError, MissingExtraError, StoreUnavailable

LINE = Line("k", "usd", Window(), 100, 10)
LEASE = 60.0
# The promise is 100 ms; a test machine adds its own.
IN_TIME = 0.5


class Clock:
    """Stands still unless a test moves it, so that no failure is forgotten meanwhile."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def __call__(self) -> float:
        return self.now

    def forget_failures(self) -> None:
        """Let the time pass for which callers are refused without asking."""
        self.now += LONGEST_PAUSE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(redis_server: LocalRedis, clock: Clock) -> Iterator[RedisStore]:
    """The store that Redis fails. It has used Redis before."""
    store = RedisStore(redis_server.url, monotonic=clock)
    wait_until(lambda: answers(store, clock))
    yield store
    store.close()


@pytest.fixture
def patient(redis_server: LocalRedis, clock: Clock) -> Iterator[RedisStore]:
    """A store for what is not about time: it waits for a busy machine."""
    store = RedisStore(redis_server.url, timeout=BUSY_MACHINE_TIMEOUT, monotonic=clock)
    yield store
    store.close()


def answers(store: RedisStore, clock: Clock) -> bool:
    clock.forget_failures()
    with suppress(StoreUnavailable):
        store.read([LINE])
        return True
    return False


def granted(store: RedisStore, id: str = "call", line: Line = LINE) -> Grant:
    answer = store.reserve(id, [line], lease=LEASE)
    assert isinstance(answer, Grant), answer
    return answer


def amounts(store: RedisStore) -> tuple[int, int]:
    return store.read([LINE])[0][:2]


def refused(store: RedisStore, id: str = "refused") -> str:
    with pytest.raises(StoreUnavailable) as caught:
        store.reserve(id, [LINE], lease=LEASE)
    assert caught.value.store == store.url
    return caught.value.cause


async def arefused(store: RedisStore) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        await store.areserve("refused", [LINE], lease=LEASE)
    return caught.value.cause


@pytest.mark.parametrize("fault", ["stop", "pause"])
class TestDecisionsAreInTime:
    def test_in_threads(self, store: RedisStore, redis_server: LocalRedis, clock: Clock, fault: str) -> None:
        def decide() -> None:
            clock.forget_failures()
            refused(store)

        getattr(redis_server, fault)()
        takes_less_than(IN_TIME, decide)

    def test_in_tasks(self, store: RedisStore, redis_server: LocalRedis, clock: Clock, fault: str) -> None:
        def decide() -> None:
            clock.forget_failures()
            asyncio.run(arefused(store))

        getattr(redis_server, fault)()
        takes_less_than(IN_TIME, decide)

    def test_of_settlements(
        self, store: RedisStore, patient: RedisStore, redis_server: LocalRedis, clock: Clock, fault: str
    ) -> None:
        grant = granted(patient)

        def settle() -> None:
            clock.forget_failures()
            with pytest.raises(StoreUnavailable):
                store.settle(grant, {"usd": 5})

        getattr(redis_server, fault)()
        takes_less_than(IN_TIME, settle)

    def test_of_hundreds(self, store: RedisStore, redis_server: LocalRedis, clock: Clock, fault: str) -> None:
        def decide() -> None:
            clock.forget_failures()
            with ThreadPoolExecutor(200) as pool:
                causes = list(pool.map(lambda n: refused(store, f"{n}"), range(200)))
            assert sum("will be asked again" in cause for cause in causes) > 100

        getattr(redis_server, fault)()
        takes_less_than(2.0, decide)


class TestRefusedConnections:
    def test_in_threads(self, store: RedisStore, redis_server: LocalRedis) -> None:
        redis_server.stop()
        assert "will be asked again" not in refused(store)

    async def test_in_tasks(self, store: RedisStore, redis_server: LocalRedis) -> None:
        redis_server.stop()
        assert "will be asked again" not in await arefused(store)
        await store.aclose()

    def test_recovery_needs_nobody(self, store: RedisStore, redis_server: LocalRedis, clock: Clock) -> None:
        redis_server.stop()
        refused(store)
        redis_server.start()
        assert "will be asked again in 0" in refused(store)
        wait_until(lambda: answers(store, clock))


class TestHanging:
    def test_in_threads(self, store: RedisStore, patient: RedisStore, redis_server: LocalRedis, clock: Clock) -> None:
        grant = granted(patient)
        redis_server.pause()
        assert refused(store) == "it does not answer"
        clock.forget_failures()
        with pytest.raises(StoreUnavailable):
            store.settle(grant, {"usd": 5})

    async def test_in_tasks(
        self, store: RedisStore, patient: RedisStore, redis_server: LocalRedis, clock: Clock
    ) -> None:
        grant = granted(patient)
        redis_server.pause()
        assert await arefused(store) == "it does not answer"
        clock.forget_failures()
        with pytest.raises(StoreUnavailable):
            await store.asettle(grant, {"usd": 5})
        redis_server.resume()
        assert (await patient.asettle(grant, {"usd": 5})).totals == (5,)
        await patient.aclose()
        await store.aclose()

    def test_a_store_that_is_closed_under_its_callers_is_unavailable(self, redis_server: LocalRedis) -> None:
        """An application shuts down while some of its threads still wait for Redis."""
        store = RedisStore(redis_server.url, timeout=BUSY_MACHINE_TIMEOUT)
        store.reserve("connects", [LINE], lease=60.0)
        redis_server.pause()
        try:
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(store.reserve, "waits", [LINE], lease=60.0)
                wait_until(lambda: store._sender._slots._inside == 1)
                store.close()
                with pytest.raises(StoreUnavailable):
                    waiting.result(5 * BUSY_MACHINE_TIMEOUT)  # closed before it sends, it connects anew, in vain
        finally:
            redis_server.resume()

    def test_a_connection_that_is_closed_while_it_is_taken_from_the_pool_is_made_again(
        self, redis_server: LocalRedis
    ) -> None:
        store = RedisStore(redis_server.url, timeout=BUSY_MACHINE_TIMEOUT)
        store.reserve("connects", [LINE], lease=60.0)
        client: Any = store._sender._client
        [connection] = client.connection_pool._available_connections
        connection._parser._buffer._buffer.close()  # as another thread leaves it that closes the connection
        assert store.reserve("goes on", [LINE], lease=60.0)
        store.close()

    async def test_a_store_that_is_closed_under_its_tasks_is_unavailable(self, redis_server: LocalRedis) -> None:
        store = RedisStore(redis_server.url, timeout=BUSY_MACHINE_TIMEOUT)
        await store.areserve("connects", [LINE], lease=60.0)
        redis_server.pause()
        try:
            waiting = asyncio.create_task(store.areserve("waits", [LINE], lease=60.0))
            [own] = store._async_sender._loops.values()
            await async_wait_until(lambda: own.slots._value == IN_FLIGHT - 1)
            await store.aclose()
            with pytest.raises(StoreUnavailable):
                await waiting
        finally:
            redis_server.resume()

    def test_a_request_that_its_caller_gave_up_holds_nothing_later(
        self, store: RedisStore, patient: RedisStore, redis_server: LocalRedis
    ) -> None:
        granted(patient)
        redis_server.pause()
        refused(store)
        time.sleep(0.5)  # until the moment that the request carries has passed on the server's clock, or longer
        redis_server.resume()  # now it reads what was sent
        assert amounts(patient) == (0, 10)
        assert amounts(patient) == (0, 10)

    def test_a_settle_that_its_caller_gave_up_counts_once(
        self, store: RedisStore, patient: RedisStore, redis_server: LocalRedis
    ) -> None:
        grant = granted(patient)
        redis_server.pause()
        with pytest.raises(StoreUnavailable):
            store.settle(grant, {"usd": 5})
        redis_server.resume()
        assert patient.settle(grant, {"usd": 5}).totals == (5,)
        assert amounts(patient) == (5, 0)


class TestLostReplies:
    """The server did what it was asked for, but whoever asked was refused without a reply, so nothing may be held."""

    @pytest.fixture
    def lost(self, patient: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """While it holds something, the next reply to the store is lost."""
        granted(patient, "before")
        lost: list[str] = []
        for client in (patient._sender._client, redis.asyncio.Redis):
            execute = client.execute_command

            def losing(*words: Any, execute: Any = execute, **options: Any) -> Any:
                answer = execute(*words, **options)
                return answer if not lost else self.unheard(answer, lost.pop())

            monkeypatch.setattr(client, "execute_command", losing)
        return lost

    def unheard(self, answer: Any, why: str) -> Any:
        async def later() -> None:
            await answer
            raise redis.TimeoutError(why)

        if asyncio.iscoroutine(answer):
            return later()
        raise redis.TimeoutError(why)

    @pytest.fixture
    def other(self, redis_server: LocalRedis) -> Iterator[RedisStore]:
        """What another process sees."""
        store = RedisStore(redis_server.url, timeout=BUSY_MACHINE_TIMEOUT)
        yield store
        store.close()

    def test_in_threads(self, patient: RedisStore, other: RedisStore, lost: list[str], clock: Clock) -> None:
        lost.append("of the reservation")
        assert "does not answer" in refused(patient)
        clock.forget_failures()
        assert amounts(other) == (0, 20)
        lost.append("of giving it back")
        assert "does not answer" in refused(patient)
        clock.forget_failures()
        granted(patient, "after")
        assert amounts(other) == (0, 20)

    async def test_in_tasks(self, patient: RedisStore, other: RedisStore, lost: list[str], clock: Clock) -> None:
        lost.append("of the reservation")
        assert "does not answer" in await arefused(patient)
        clock.forget_failures()
        assert amounts(other) == (0, 20)
        assert isinstance(await patient.areserve("after", [LINE], lease=LEASE), Grant)
        assert amounts(other) == (0, 20)
        await patient.aclose()

    def test_who_looks_does_not_see_it_held(self, patient: RedisStore, lost: list[str], clock: Clock) -> None:
        lost.append("of the reservation")
        refused(patient)
        clock.forget_failures()
        assert amounts(patient) == (0, 10)

    def test_one_that_was_not_made_is_given_back_without_a_trace(self, store: RedisStore, clock: Clock) -> None:
        store._unanswered.append("never-arrived")
        granted(store, "after")
        assert amounts(store) == (0, 10)


class TestRestartedEmpty:
    def test_open_calls_are_charged_where_they_were_reserved(
        self, patient: RedisStore, redis_server: LocalRedis, clock: Clock
    ) -> None:
        minute = LINE._replace(key="minute", window=Window(60.0))
        grant = patient.reserve("call", [LINE, minute], lease=LEASE)
        assert isinstance(grant, Grant)
        redis_server.restart_empty()
        clock.forget_failures()
        assert patient.settle(grant, {"usd": 7}).totals == (7, 7)
        assert patient.settle(grant, {"usd": 7}).totals == (7, 7)
        assert [reading[:2] for reading in patient.read([LINE, minute])] == [(7, 0), (7, 0)]

    def test_scripts_are_loaded_again(self, patient: RedisStore, redis_server: LocalRedis) -> None:
        grant = granted(patient)
        assert redis_server.command("SCRIPT", "FLUSH") == b"+OK"
        patient.settle(grant, {"usd": 7})
        granted(patient)
        assert amounts(patient) == (7, 10)

    async def test_scripts_are_loaded_again_in_tasks(self, patient: RedisStore, redis_server: LocalRedis) -> None:
        await patient.areserve("a", [LINE], lease=LEASE)
        redis_server.command("SCRIPT", "FLUSH")
        assert isinstance(await patient.areserve("b", [LINE], lease=LEASE), Grant)
        await patient.aclose()

    @pytest.mark.slow
    def test_killed_and_back_in_the_middle_of_everything(self, redis_server: LocalRedis) -> None:
        """Callers see grants and clean refusals, nothing else; and at rest nothing is held."""
        store = RedisStore(redis_server.url)
        roomy = LINE._replace(limit=10**9)
        stop = threading.Event()
        ended: list[str] = []

        def caller(number: int) -> None:
            for attempt in range(100_000):
                if stop.is_set():
                    return
                try:
                    answer = store.reserve(f"{number}-{attempt}", [roomy], lease=LEASE)
                except StoreUnavailable:
                    ended.append("unavailable")
                    time.sleep(0.005)
                    continue
                assert isinstance(answer, Grant)
                while not stop.is_set():
                    with suppress(StoreUnavailable):
                        store.settle(answer, {"usd": 1})
                        ended.append("settled")
                        break
                    time.sleep(0.005)

        def until_more(outcome: str) -> None:
            before = len(ended)
            wait_until(lambda: outcome in ended[before:])

        with ThreadPoolExecutor(16) as pool:
            callers = [pool.submit(caller, n) for n in range(16)]
            try:
                for outcome in ("settled", "unavailable", "settled", "unavailable", "settled"):
                    if outcome == "unavailable":
                        redis_server.stop()
                    else:
                        redis_server.start()
                    until_more(outcome)
            finally:
                stop.set()
        for finished in callers:
            finished.result()
        assert {"settled", "unavailable"} == set(ended)
        store.close()


class TestCancellation:
    async def test_what_was_granted_to_nobody_is_released(self, patient: RedisStore, redis_server: LocalRedis) -> None:
        await patient.areserve("warm", [LINE._replace(key="other")], lease=LEASE)
        for pause in (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005):
            task = asyncio.ensure_future(patient.areserve(f"gone-{pause}", [LINE], lease=LEASE))
            await asyncio.sleep(pause)
            task.cancel()
            with suppress(asyncio.CancelledError):
                answer = await task
                assert isinstance(answer, Grant)
                await patient.asettle(answer, {})
        await async_wait_until(lambda: not patient._background and amounts(patient) == (0, 0))
        assert isinstance(await patient.areserve("next", [LINE], lease=LEASE), Grant)
        await patient.aclose()

    async def test_a_whole_crowd_can_be_cancelled(self, patient: RedisStore) -> None:
        roomy = LINE._replace(limit=10**9)
        tasks = [asyncio.ensure_future(patient.areserve(f"{n}", [roomy], lease=LEASE)) for n in range(300)]
        await async_wait_until(lambda: any(task.done() for task in tasks))
        for task in tasks:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Grant):
                await patient.asettle(answer, {})
        await async_wait_until(lambda: not patient._background and amounts(patient) == (0, 0))
        await patient.aclose()

    async def test_a_settle_goes_through(self, patient: RedisStore) -> None:
        grant = await patient.areserve("a", [LINE], lease=LEASE)
        assert isinstance(grant, Grant)
        task = asyncio.ensure_future(patient.asettle(grant, {"usd": 6}))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await async_wait_until(lambda: amounts(patient) == (6, 0))
        await patient.aclose()


class TestEventLoops:
    def test_one_after_the_other(self, patient: RedisStore) -> None:
        """As ``asyncio.run(chain.ainvoke(...))`` in a loop does, with nobody closing anything."""
        for number in range(3):
            answer = asyncio.run(patient.areserve(f"{number}", [LINE], lease=LEASE))
            assert isinstance(answer, Grant)
        assert len(patient._async_sender._loops) <= 2
        gc.collect()

    def test_in_several_threads_at_once(self, patient: RedisStore) -> None:
        async def spend() -> int:
            answers = [await patient.areserve(f"{n}", [LINE], lease=LEASE) for n in range(10)]
            return sum(isinstance(answer, Grant) for answer in answers)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(lambda _: asyncio.run(spend()), range(4))) == 10


class TestSecrets:
    def test_a_wrong_password_is_a_store_that_is_unavailable(self, redis_server: LocalRedis) -> None:
        redis_server.command("CONFIG", "SET", "requirepass", "right")
        store = RedisStore(redis_server.url.replace("//", "//:wr0ng-s3cret@"), timeout=BUSY_MACHINE_TIMEOUT)
        with pytest.raises(StoreUnavailable) as caught:
            store.reserve("call", [LINE], lease=LEASE)
        assert store.url == redis_server.url
        assert "password" in caught.value.cause
        assert "wr0ng-s3cret" not in f"{caught.value} {caught.value!r} {store!r} {vars(caught.value)}"

    async def test_credentials_work_and_are_not_shown(self, redis_server: LocalRedis) -> None:
        redis_server.command("CONFIG", "SET", "requirepass", "s3cret%")
        store = RedisStore(redis_server.url.replace("//", "//:s3cret%25@"), timeout=BUSY_MACHINE_TIMEOUT)
        granted(store)
        assert isinstance(await store.areserve("b", [LINE], lease=LEASE), Grant)
        assert "s3cret" not in store.url + repr(store)
        await store.aclose()

    def test_a_bad_url_does_not_show_them_either(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            RedisStore("redis://:s3cret@host:1/0?db=one")
        assert "s3cret" not in str(caught.value)

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
    async def test_tls(self, redis_server: LocalRedis, tmp_path: Path) -> None:
        certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        make = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", *make.split(), *files], check=True, capture_output=True)
        with tls_in_front_of(redis_server.port, certificate, key) as port:
            store = RedisStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", timeout=BUSY_MACHINE_TIMEOUT)
            granted(store)
            assert isinstance(await store.areserve("b", [LINE], lease=LEASE), Grant)
            assert isinstance(store.reserve("c", [LINE._replace(amount=81)], lease=LEASE), Denial)
            await store.aclose()


def test_redis_py_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError, match=r"langchain-costguard\[redis\]"):
        RedisStore("redis://127.0.0.1:1/0")


@contextmanager
def tls_in_front_of(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """A TLS port that passes everything on to a plain one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    threads = []

    def relay(raw: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(raw, server_side=True) as near:
            with socket.create_connection(("127.0.0.1", port)) as far:
                while True:
                    ready, _, _ = select.select([near, far], [], [])
                    data = ready[0].recv(65_536)
                    if not data:
                        return
                    (far if ready[0] is near else near).sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threads.append(threading.Thread(target=relay, args=(server.accept()[0],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=serve)
        accepting.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        accepting.join(SAFETY_LIMIT)
    for thread in threads:
        thread.join(SAFETY_LIMIT)
