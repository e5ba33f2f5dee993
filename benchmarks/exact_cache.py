"""An exact hit through ``invoke``: Costguard against LangChain's own caches, measured in turns in the same process.

    python benchmarks/exact_cache.py [--rounds 300] [--redis redis://127.0.0.1:6379/15] [--check] [--json]

Prints the median microseconds of one hit, for a question of 1 message and for a conversation of 22 messages (15 kB),
and how many times faster Costguard is than the peer over the same kind of store. Without ``--redis`` a server is
started if redis-server is installed (the development environment brings one). The last rows ask through
:class:`GuardedChatModel`. ``--check`` exits with 1 when a ratio is under its limit.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

from costguard_core import CostGuard
from costguard_core.simulate import Simulator
from langchain_costguard import ExactCache, GuardedChatModel

# Whom we are compared with. LangChain writes the whole conversation into a string before it asks a cache; only the
# guarded model does without, so long conversations are its part.
PAIRS = [
    ("Costguard memory", "InMemoryCache"),
    ("Costguard SQLite", "SQLiteCache"),
    ("Costguard Redis", "community RedisCache"),
    ("GuardedChatModel, memory", "InMemoryCache"),
    ("GuardedChatModel, SQLite", "SQLiteCache"),
    ("GuardedChatModel, Redis", "community RedisCache"),
]
# How many times as fast as the peer a hit for one message is, at least.
LIMITS = {
    ("Costguard memory", "InMemoryCache"): 0.9,
    ("Costguard Redis", "community RedisCache"): 1.5,
    ("GuardedChatModel, memory", "InMemoryCache"): 1.2,
    ("GuardedChatModel, Redis", "community RedisCache"): 1.5,
}


class Contender(NamedTuple):
    name: str
    model: BaseChatModel


def conversation(messages: int) -> list[BaseMessage]:
    """A system prompt and turns, 15 kB in all for 22 messages."""
    if messages == 1:
        return [HumanMessage("What is the capital of France?")]
    words = random.Random(7).choices("how does a cache find out whether two questions want one answer".split(), k=120)
    text = " ".join(words)
    turns = [HumanMessage(f"{n} {text}") if n % 2 else AIMessage(f"{n} {text}") for n in range(1, messages)]
    return [SystemMessage(f"You are brief. {text}"), *turns]


_CALLS = 10


def measure(contenders: list[Contender], messages: list[BaseMessage], rounds: int) -> dict[str, float]:
    """Median microseconds of a hit; the contenders take turns, so that a busy machine is busy for all of them."""
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        for _ in range(20):
            contender.model.invoke(messages)
    order = random.Random(7)
    for _ in range(rounds):
        for contender in order.sample(contenders, len(contenders)):
            contender.model.invoke(messages)  # unmeasured: it pays for the caches that the one before left cold
            for _ in range(_CALLS):
                started = time.perf_counter()
                contender.model.invoke(messages)
                samples[contender.name].append(time.perf_counter() - started)
    return {name: statistics.median(found) * 1e6 for name, found in samples.items()}


def contenders(server: Simulator, folder: Path, redis_url: str | None) -> Iterator[Contender]:
    def model(*, cache: BaseCache | bool) -> ChatOpenAI:
        return ChatOpenAI(model="gpt-4o-mini", api_key="simulated", base_url=server.base_url, cache=cache)

    yield Contender("InMemoryCache", model(cache=InMemoryCache()))
    yield Contender("Costguard memory", model(cache=ExactCache()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.cache import RedisCache, SQLiteCache
    yield Contender("SQLiteCache", model(cache=SQLiteCache(str(folder / "langchain.db"))))
    yield Contender("Costguard SQLite", model(cache=ExactCache(f"sqlite:///{folder}/costguard.db")))
    if redis_url:
        import redis

        yield Contender("community RedisCache", model(cache=RedisCache(redis.Redis.from_url(redis_url))))
        yield Contender("Costguard Redis", model(cache=ExactCache(redis_url)))
    guard = CostGuard(budgets=[], ledger="memory://")
    own = {"memory": "memory://", "SQLite": f"sqlite:///{folder}/guarded.db", "Redis": redis_url}
    for name, url in own.items():
        if url:
            cache = ExactCache(url, namespace="guarded")
            yield Contender(f"GuardedChatModel, {name}", GuardedChatModel(model(cache=False), guard, cache=cache))


@contextmanager
def local_redis(folder: Path) -> Iterator[str | None]:
    """A server of our own, or ``None`` where redis-server is not installed."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
    try:
        from local_redis import LocalRedis

        server: Any = LocalRedis(folder)
        server.start()
    except (ImportError, OSError, RuntimeError):
        yield None
        return
    try:
        yield server.url
    finally:
        server.stop()


def run(rounds: int, redis_url: str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"microseconds": {}, "ratios": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = redis_url or stack.enter_context(local_redis(folder))
        server = stack.enter_context(Simulator())
        competing = list(contenders(server, folder, url))
        for count in (1, 22):
            found = measure(competing, conversation(count), rounds)
            report["microseconds"][count] = found
            report["ratios"][count] = {
                f"{ours} vs {peer}": round(found[peer] / found[ours], 2)
                for ours, peer in PAIRS
                if ours in found and peer in found
            }
    return report


def limited(report: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """The ratios that have a limit: name, measured, limit."""
    for (ours, peer), limit in LIMITS.items():
        name = f"{ours} vs {peer}"
        if name in report["ratios"][1]:
            yield name, report["ratios"][1][name], limit


def show(report: dict[str, Any], write: Callable[[str], None] = print) -> None:
    for count, found in report["microseconds"].items():
        write(f"\n{count} message{'s' if count > 1 else ''}: median microseconds of one hit")
        for name, value in found.items():
            write(f"  {name:<28}{value:>9.0f}")
        for name, ratio in report["ratios"][count].items():
            write(f"  {name:<50}{ratio:>6.2f} x as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--redis", help="a Redis to use; its keys are left alone, except ours")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a ratio is under its limit")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # the peers' deprecation warnings, one for each hit
    report = run(options.rounds, options.redis)
    print(json.dumps(report, indent=2)) if options.json else show(report)
    if options.check and (under := [name for name, found, limit in limited(report) if found < limit]):
        sys.exit(f"under the limit: {', '.join(under)}")


if __name__ == "__main__":
    main()
