"""What pricing one call costs: Costguard's compiled sheet against ``genai_prices.calc_price``, on the same usage.

    python benchmarks/prices.py
    python benchmarks/prices.py --json

Both give the same bill (asserted here, proven in ``tests/core/pricing/test_against_genai_prices.py``). The time is CPU
microseconds per call, the best of several rounds; the ratio is the generic time over the compiled one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import UTC, datetime
from time import process_time
from typing import NamedTuple

import genai_prices

from costguard_core.pricing import PriceBook
from costguard_core.types import Usage, usd

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Case(NamedTuple):
    name: str
    provider: str
    model: str
    usage: Usage


CASES = (
    Case("plain text", "openai", "gpt-4o", Usage(1000, 200)),
    Case("cached input", "openai", "gpt-4o", Usage(1000, 200, cache_read_tokens=800)),
    Case("long-context sheet", "anthropic", "claude-sonnet-4-5", Usage(1000, 200, cache_read_tokens=500)),
    Case("hour of the day", "deepseek", "deepseek-v4-flash", Usage(1000, 200)),
    Case("cached audio", "google", "gemini-2.5-flash", Usage(1000, 200, 300, 0, 0, 800, 300)),
)


def best(work: Callable[[], object], *, calls: int, rounds: int) -> float:
    """CPU microseconds per call in the quickest round: other work on the machine only ever adds."""
    times = []
    for _ in range(rounds):
        started = process_time()
        for _ in range(calls):
            work()
        times.append((process_time() - started) / calls * 1e6)
    return min(times)


def generic(case: Case) -> genai_prices.types.PriceCalculation:
    u = case.usage
    usage = genai_prices.Usage(
        input_tokens=u.input_tokens,
        output_tokens=u.output_tokens,
        cache_read_tokens=u.cache_read_tokens,
        input_audio_tokens=u.audio_input_tokens,
        cache_audio_read_tokens=u.audio_cache_read_tokens,
    )
    return genai_prices.calc_price(usage, case.model, provider_id=case.provider, genai_request_timestamp=NOON)


def measure(case: Case, *, calls: int, rounds: int) -> dict[str, object]:
    book, at = PriceBook(), NOON.timestamp()

    def compiled() -> int | None:
        return book.cost(case.usage, model=case.model, provider=case.provider, at=at)

    cost = compiled()
    assert cost is not None
    assert 0 <= usd(cost) - generic(case).total_price < usd(5)  # at most a nano-dollar per line
    fast = best(compiled, calls=calls, rounds=rounds)
    slow = best(lambda: generic(case), calls=max(1, calls // 50), rounds=rounds)
    return {"case": case.name, "compiled_us": round(fast, 2), "generic_us": round(slow, 1), "ratio": round(slow / fast)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--calls", type=int, default=20_000, help="compiled calls per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    results = [measure(case, calls=options.calls, rounds=options.rounds) for case in CASES]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'usage':20} {'compiled':>12} {'generic':>12} {'ratio':>8}")
    for row in results:
        print(f"{row['case']:20} {row['compiled_us']:>9} us {row['generic_us']:>9} us {row['ratio']:>7}x")


if __name__ == "__main__":
    main()
