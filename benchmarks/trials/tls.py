"""Redis over TLS with certificates of our own authority: counters, cached answers, sentinels; and what is refused.

    apt install redis-server   # built with TLS; that of the wheel is not
    REDIS_SERVER=/usr/bin/redis-server python benchmarks/trials/tls.py

Wants the openssl command.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from _certificates import authority, signed
from _trial import MODEL, PRICES, Trial, a_call, folder, outcome, parser_of, scripted, started
from langchain_openai import ChatOpenAI
from local_redis import LocalRedis, LocalSentinel
from ports import reserved_port

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.errors import StoreUnavailable
from costguard_core.simulate import Simulator
from langchain_costguard import ExactCache, GuardedChatModel


@contextmanager
def server(place: Path, certificate: Path, key: Path, ca: Path, *more: str) -> Iterator[tuple[LocalRedis, int]]:
    """A server and its port for TLS."""
    with reserved_port() as port:
        files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(ca)]
        with LocalRedis(place, "--tls-port", str(port), *files, *more) as redis:
            yield redis, port


def why(url: str) -> tuple[str, float]:
    """Why a store cannot be used, and after how many seconds that was known; empty where it can."""
    with CostGuard(["$1/day"], store=url, prices=PRICES) as guard:
        guard.warm_up()
        start = time.perf_counter()
        try:
            guard.before(a_call(guard))
        except StoreUnavailable as error:
            return error.cause, time.perf_counter() - start
    return "", 0.0


def spend(url: str, callers: int) -> tuple[Counter[str], int]:
    """What became of calls from threads and from tasks on a budget of 25."""
    with CostGuard(["$0.25/day"], store=url, prices=PRICES) as guard:
        guard.warm_up()
        with ThreadPoolExecutor(16) as pool:
            found = Counter(pool.map(lambda _: outcome(guard), range(callers // 2)))

        async def tasks() -> Counter[str]:
            async def one() -> str:
                try:
                    await guard.arelease(await guard.abefore(a_call(guard)))
                except SpendLimitExceeded:
                    return "refused"
                return "paid"

            try:
                return Counter(await asyncio.gather(*(one() for _ in range(callers // 2))))
            finally:
                await guard.store.aclose()

        found += asyncio.run(tasks())
        return found, int(next(iter(guard.status())).spent * 100)


def cached_answers(url: str) -> int:
    """How many of five identical calls reached the provider."""
    with Simulator(reply=scripted) as provider, CostGuard(prices=PRICES) as guard:
        options = {"base_url": provider.base_url, "api_key": "simulated"}
        cache = ExactCache(f"{url}&socket_timeout=1")
        model = GuardedChatModel(ChatOpenAI(model=MODEL, **options), guard, cache=cache)
        for _ in range(5):
            model.invoke("What is TLS?")
        return provider.count


def microseconds(url: str) -> float:
    """One reservation and its end, at the median."""
    with CostGuard(["$9000/day"], store=url, prices=PRICES) as guard:
        guard.warm_up()
        times = []
        for _ in range(300):
            start = time.perf_counter()
            outcome(guard)
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def main() -> None:
    trial = started("tls", parser_of(__doc__))
    with folder() as place:
        ca = authority(place)
        ours, client = signed(place, "server", ca), signed(place, "client", ca)
        other, elsewhere = authority(place, "other"), signed(place, "elsewhere", ca, "DNS:redis.example.org")
        with server(place, *ours, ca[0], "--tls-auth-clients", "no") as (redis, port):
            trusted = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca[0]}"
            found, spent = spend(f"{trusted}&timeout=1", 200)
            trial.row(
                "25 cents pay exactly 25 of 200 calls from threads and tasks",
                f"{dict(found)}, {spent} cents spent",
                kept=found["paid"] == spent == 25 and found["unavailable"] == 0,
            )
            plain, safe = microseconds(f"{redis.url}?timeout=1&prefix=p"), microseconds(f"{trusted}&timeout=1&prefix=q")
            trial.row("a call, reserved and settled, without and with TLS", f"{plain:.0f} µs, {safe:.0f} µs")
            _refusals(trial, port, other[0])
            provider_calls = cached_answers(trusted)
            trial.row(
                "an answer that is cached over TLS is served from there",
                f"{provider_calls} paid of 5",
                kept=provider_calls == 1,
            )
        with server(place, *elsewhere, ca[0], "--tls-auth-clients", "no") as (_, port):
            cause, took = why(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca[0]}")
            trial.row(
                "a certificate for another host is refused",
                f"{cause} ({took:.2f} s)",
                kept="certificate" in cause.lower(),
            )
        with server(place, *ours, ca[0]) as (_, port):
            trusted = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca[0]}"
            cause, took = why(trusted)
            trial.row(
                "a server that wants certificates of clients refuses one without",
                f"{cause} ({took:.2f} s)",
                kept=bool(cause),
            )
            cause, _ = why(f"{trusted}&ssl_certfile={client[0]}&ssl_keyfile={client[1]}")
            trial.row("and serves one with", cause or "served", kept=not cause)
        _sentinel(trial, place, ca[0], ours)
    trial.finish()


def _refusals(trial: Trial, port: int, other: Path) -> None:
    for promised, url in {
        "a certificate of another authority is refused": f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={other}",
        "so is one of an authority that the system does not know": f"rediss://127.0.0.1:{port}/0",
        "a plain connection to a TLS port is refused": f"redis://127.0.0.1:{port}/0",
    }.items():
        cause, took = why(url)
        trial.row(promised, f"{cause} ({took:.2f} s)", kept=bool(cause))


def _sentinel(trial: Trial, place: Path, ca: Path, files: tuple[Path, Path]) -> None:
    """A server and a sentinel that are reached by TLS alone: the sentinel's password never travels in the clear."""
    tls = ["tls-auth-clients no", f"tls-cert-file {files[0]}", f"tls-key-file {files[1]}", f"tls-ca-cert-file {ca}"]
    with server(place, *files, ca, "--tls-auth-clients", "no") as (redis, port), reserved_port() as sentinel_port:
        watched = LocalRedis.__new__(LocalRedis)
        watched.port = port
        encrypted = [*tls, "tls-replication yes", f"tls-port {sentinel_port}"]
        with LocalSentinel(place, watched, *encrypted):
            address = f"127.0.0.1:{sentinel_port}/mymaster?ssl_ca_certs={ca}"
            cause, _ = why(f"rediss+sentinel://{address}&timeout=1")
            trial.row("rediss+sentinel:// asks sentinels over TLS, too", cause or "served", kept=not cause)
            cause, took = why(f"rediss+sentinel://{address}&sentinel_tls=false")
            trial.row("sentinel_tls=false asks them in the clear", f"{cause} ({took:.2f} s)", kept=bool(cause))
        assert redis


if __name__ == "__main__":
    main()
