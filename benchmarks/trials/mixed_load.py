"""Mixed load for a while: nothing stays held, and neither file descriptors nor threads nor memory grow.

    python benchmarks/trials/mixed_load.py --minutes 60
    nice -n 19 python benchmarks/trials/mixed_load.py --minutes 15 --rate 10

One process with three guards (counters in memory, in SQLite and in Redis; ledgers in SQLite) asks a simulated provider,
which is a process of its own and fails now and then, through LangChain and LlamaIndex: plain, asynchronous and streamed
calls, streams that are dropped, tasks that are cancelled, clients that give up, questions that are cached, budgets that
refuse, and a webhook that nobody answers. The load is the same from beginning to end, so after a warm-up of a fifth of
the time its needs must be, too: memory is compared between the beginning and the end of the rest.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil
from _trial import MODEL, PRICES, folder, parser_of, started, until
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from local_redis import LocalRedis
from ports import reserved_port

from costguard_core import CostGuard, Outcome
from costguard_core.exporters import WebhookHook
from langchain_costguard import ExactCache, GuardedChatModel, SpendLimitExceeded, attribute
from llamaindex_costguard import guard_llm

LEASE = 20.0  # seconds
USERS, QUESTIONS = 200, 30
BUDGETS = ["$500/hour", "30 requests/minute per user", "$2/day per user"]
LATENCY = 0.15  # seconds, median
POOLED, MOST_POOLED = ("provider", "Redis"), 64  # 16 to Redis from threads, 16 from the loop, the rest to the provider
GIVES_UP = 0.3  # seconds after which an impatient client ends


@contextmanager
def provider() -> Iterator[str]:
    """The URL of a simulated provider in a process of its own, three of a hundred answers of which are errors."""
    with reserved_port() as port:
        options = f"--port {port} --latency {LATENCY} --spread 0.5 --per-token 0.001 --fault-rate 0.03"
        program = "from costguard_core.cli.main import app; app()"
        command = [sys.executable, "-c", program, "simulate", *options.split()]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        try:
            until(lambda: _reachable(port))
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def _reachable(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5).status_code < 500
    except httpx.HTTPError:
        return False


def open_files(process: psutil.Process, names: dict[int, str]) -> Counter[str]:
    """How many files and connections are open, by the server or the kind of file."""
    connections = (connection.raddr for connection in process.net_connections("tcp"))
    found = Counter(names.get(address.port, "other") if address else "listening" for address in connections)
    return found + Counter(file.path.rpartition("/")[2] for file in process.open_files())


class Load:
    """The kinds of calls over one guard; each is a method that makes one."""

    def __init__(self, guard: CostGuard, url: str, rng: random.Random) -> None:
        self.guard, self._rng = guard, rng
        options: dict[str, Any] = {"model": MODEL, "api_key": "simulated", "base_url": url, "max_retries": 0}
        cache = ExactCache("memory://")
        self.model = GuardedChatModel(ChatOpenAI(**options, max_tokens=60), guard, cache=cache)
        self.impatient = GuardedChatModel(ChatOpenAI(**options, max_tokens=60, timeout=GIVES_UP), guard, cache=False)
        llm = OpenAI(model="gpt-4o-mini", api_key="simulated", api_base=url, max_retries=0, max_tokens=60)
        self.llm = guard_llm(llm, guard, cache="memory://")
        self.plain: list[Callable[[str], object]] = [
            self.invoke,
            self.stream,
            self.drop_stream,
            self.give_up,
            self.chat,
        ]
        self.tasks: list[Callable[[str], Any]] = [
            self.ainvoke,
            self.astream,
            self.cancel,
            self.achat,
            self.adrop_stream,
        ]

    def question(self) -> str:
        known = self._rng.random() < 0.3
        return f"What is the colour of thing number {self._rng.randrange(QUESTIONS) if known else self._rng.random()}?"

    def invoke(self, question: str) -> None:
        self.model.invoke(question)

    def stream(self, question: str) -> None:
        for _ in self.model.stream(question):
            pass

    def drop_stream(self, question: str) -> None:
        next(iter(self.model.stream(question)))

    def give_up(self, question: str) -> None:
        self.impatient.invoke(question)

    def chat(self, question: str) -> None:
        self.llm.chat([ChatMessage(content=question)])

    async def ainvoke(self, question: str) -> None:
        await self.model.ainvoke(question)

    async def astream(self, question: str) -> None:
        async for _ in self.model.astream(question):
            pass

    async def adrop_stream(self, question: str) -> None:
        await anext(self.model.astream(question))

    async def cancel(self, question: str) -> None:
        task = asyncio.ensure_future(self.model.ainvoke(question))
        await asyncio.sleep(self._rng.random() * 0.2)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def achat(self, question: str) -> None:
        await self.llm.achat([ChatMessage(content=question)])


def run(loads: list[Load], seconds: float, rate: float, seen: Counter[str], sample: Callable[[], None]) -> None:
    """Make ``rate`` calls a second, half in threads and half in tasks of one loop, for so many seconds."""
    asyncio.run(_run(loads, seconds, rate, seen, sample))


async def _run(loads: list[Load], seconds: float, rate: float, seen: Counter[str], sample: Callable[[], None]) -> None:
    rng, tasks = random.Random(7), set[asyncio.Task[None]]()
    begun, next_sample = time.monotonic(), 0.0
    while (elapsed := time.monotonic() - begun) < seconds:
        load, user = rng.choice(loads), f"u{min(int(rng.paretovariate(0.7)), USERS)}"
        kind = rng.choice([*load.plain, *load.tasks])
        task = asyncio.create_task(_one(load, kind, user, seen))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if elapsed >= next_sample:
            next_sample = elapsed + max(1.0, seconds / 120)
            sample()
        await asyncio.sleep(rng.expovariate(rate))
    if tasks:
        await asyncio.wait(tasks, timeout=60)


async def _one(load: Load, kind: Callable[[str], Any], user: str, seen: Counter[str]) -> None:
    question = load.question()
    try:
        with attribute(user=user, endpoint=f"/{kind.__name__}"):
            if asyncio.iscoroutinefunction(kind):
                await kind(question)
            else:
                await asyncio.to_thread(kind, question)
        seen["answered"] += 1
    except SpendLimitExceeded:
        seen["refused"] += 1
    except Exception as error:
        seen[type(error).__name__] += 1


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=10.0, help="calls a second, all guards together")
    trial = started("mixed_load", parser)
    options, me = trial.options, psutil.Process()
    seen, samples, kinds = Counter[str](), list[tuple[float, int, int]](), list[Counter[str]]()

    def sample() -> None:
        gc.collect()
        samples.append((me.memory_info().rss / 1e6, me.num_fds(), threading.active_count()))
        kinds.append(open_files(me, names))

    names = dict[int, str]()
    with folder() as place, LocalRedis(place) as redis, provider() as url:
        names |= {redis.port: "Redis", int(url.rpartition(":")[2].partition("/")[0]): "provider"}
        stores = {"memory": "memory://", "sqlite": f"sqlite:///{place}/counters.db", "redis": redis.url}
        prices = PRICES | {"gpt-4o-mini": {"input": "0.15", "output": "0.60"}}
        guards = {
            name: CostGuard(
                BUDGETS,
                store=store,
                ledger=f"sqlite:///{place}/ledger-{name}.db",
                prices=prices,
                lease=LEASE,
                hooks=[WebhookHook("http://127.0.0.1:9/nobody")],
            )
            for name, store in stores.items()
        }
        loads = [Load(guard, url, random.Random(n)) for n, guard in enumerate(guards.values())]
        run(loads, options.minutes * 60, options.rate, seen, sample)
        trial.row(f"{options.minutes:g} minutes at {options.rate:g} calls a second", dict(seen.most_common()))
        rest = samples[len(samples) // 5 :]
        part = max(1, len(rest) // 4)
        memory, files, threads = zip(*rest, strict=True)
        first, last = statistics.median(memory[:part]), statistics.median(memory[-part:])
        calls = sum(seen.values()) * 0.8
        trial.row(
            "memory does not grow (by less than a tenth after the warm-up)",
            f"{first:.0f} MB, {last:.0f} MB at the end ({(last - first) * 1e6 / calls:+.0f} bytes per call)",
            kept=last < 1.1 * first,
        )
        early, late = kinds[-len(rest)], kinds[-1]
        pooled, grown = [sum(found[name] for name in POOLED) for found in (early, late)], late - early
        trial.row(
            "files and connections that are not pooled do not grow",
            f"{early.total() - pooled[0]} at first, {late.total() - pooled[1]} in the end",
            kept=not set(grown) - set(POOLED),
        )
        trial.row(
            f"pools keep at most {MOST_POOLED} connections",
            f"{pooled[0]} at first, {pooled[1]} in the end",
            kept=pooled[1] <= MOST_POOLED,
        )
        trial.row("file descriptors", f"{files[0]} at first, {files[-1]} in the end, {max(files)} at most")
        half = len(rest) // 2
        trial.row(
            "threads do not grow",
            f"{max(threads[:half])} at most in the first half, {max(threads[half:])} in the second",
            kept=max(threads[half:]) <= max(threads[:half]) + 5,
        )
        time.sleep(LEASE)
        for name, guard in guards.items():
            with suppress(SpendLimitExceeded), attribute(user="last"):
                guard.release(guard.before(_last(guard)))
            guard.flush()
            rows = list(guard.status())
            held = [row for row in rows if row.held]
            trial.row(
                f"{name}: held is back to 0", f"{len(held)} of {len(rows)} counters hold something", kept=not held
            )
            (hour,) = [row for row in rows if row.budget == "$500/hour"]
            events = list(guard.ledger.events())
            recorded = sum(event.cost or 0 for event in events)
            kinds = Counter(event.outcome.value for event in events)
            trial.row(
                f"{name}: what was spent is what the ledger says",
                f"${hour.spent:.6f}, ${recorded / 1e9:.6f} in {len(events)} events: {dict(kinds.most_common())}",
                # The hour slides: after it, counters have forgotten what the ledger remembers.
                kept=int(hour.spent * 10**9) == recorded if options.minutes < 55 else None,
            )
            lost = guard.ledger.dropped
            expired = sum(event.outcome is Outcome.ABANDONED and event.reason == "lease expired" for event in events)
            trial.row(
                f"{name}: no event is lost, no lease expires",
                f"{lost} lost, {expired} expired",
                kept=not lost and not expired,
            )
            guard.close()
    trial.finish()


def _last(guard: CostGuard) -> Any:
    from _trial import a_call

    return a_call(guard, "last")


if __name__ == "__main__":
    main()
