"""What a guarded LLM adds to one ``MockLLM.chat``: a miss, and a hit. CPU time of this thread, least of many rounds.

The peer is the bare ``MockLLM.chat`` of the same run; LlamaIndex's own ``TokenCountingHandler`` stands beside it, which
counts tokens and knows neither money, nor who, nor limits. The variants take turns, so that a busy machine slows all of
them.

    python benchmarks/llamaindex.py [--rounds 200] [--calls 20] [--messages 1] [--check] [--json]

``--check`` exits with 1 when a miss adds more, or a hit is less fast, than the limits say.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import sys
import time
from collections.abc import Callable

from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, MockLLM

from costguard_core import CostGuard
from llamaindex_costguard import guard_llm

PRICES = {"MockLLM": {"input": "1", "output": "10"}}
BUDGETS = ["$2500/day per user", "$200/minute", "900000 requests/hour"]
MOST_ADDED = 0.25  # what a miss without budgets adds, as a share of the bare call
LEAST_FASTER = 2.0  # how many times as fast as the bare call a hit is


def variants(messages: list[ChatMessage]) -> dict[str, Callable[[], object]]:
    """One call of each variant, by name; the first is the bare LLM."""
    bare, counted = (
        MockLLM(max_tokens=5),
        MockLLM(max_tokens=5, callback_manager=CallbackManager([TokenCountingHandler()])),
    )
    metered = guard_llm(MockLLM(max_tokens=5), CostGuard(prices=PRICES))
    limited = guard_llm(MockLLM(max_tokens=5), CostGuard(BUDGETS, prices=PRICES))
    missing = guard_llm(MockLLM(max_tokens=5), CostGuard(prices=PRICES), cache="memory://")
    hitting = guard_llm(MockLLM(max_tokens=5), CostGuard(BUDGETS, prices=PRICES), cache="memory://")
    hitting.chat(messages)
    numbers = itertools.count()
    return {
        "MockLLM.chat": lambda: bare.chat(messages),
        "TokenCountingHandler": lambda: counted.chat(messages),
        "guarded, no budget": lambda: metered.chat(messages),
        "guarded, three budgets": lambda: limited.chat(messages),
        "guarded, cache miss stored": lambda: missing.chat(messages, number=next(numbers)),
        "guarded, cache hit": lambda: hitting.chat(messages),
    }


def microseconds(call: Callable[[], object], calls: int) -> float:
    """CPU time of this thread per call, over one batch."""
    start = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - start) / calls / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--messages", type=int, default=1, help="how many messages the prompt has")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a limit is not kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prompt = [
        ChatMessage(role="user", content=f"What is the return policy, part {n}?") for n in range(options.messages)
    ]
    callables = variants(prompt)
    for call in callables.values():
        microseconds(call, 50)
    gc.collect()
    gc.freeze()  # what was imported is not looked at again, which makes collecting quick
    gc.disable()
    times = dict.fromkeys(callables, float("inf"))
    order = random.Random(7)
    for _ in range(options.rounds):  # in another order each time: whoever follows a large variant finds colder memory
        for name in order.sample(list(callables), len(callables)):
            gc.collect()  # LlamaIndex leaves cycles behind: without this, whoever comes later gets colder memory
            times[name] = min(times[name], microseconds(callables[name], options.calls))
    bare, hit = times["MockLLM.chat"], times["guarded, cache hit"]
    added, faster = times["guarded, no budget"] / bare - 1, bare / hit
    if options.json:
        print(json.dumps({"microseconds": times, "miss_adds": added, "hit_is_faster": faster}))
    else:
        print(f"{'variant':28} {'us/call':>8} {'added':>8}")
        for name, taken in times.items():
            print(f"{name:28} {taken:8.0f} {taken - bare:8.0f}")
        print(
            f"\na guarded miss adds {added:.2f} of the bare call (limit: {MOST_ADDED}); "
            f"a hit is {faster:.1f} times as fast (limit: {LEAST_FASTER})"
        )
    if options.check and (added > MOST_ADDED or faster < LEAST_FASTER):
        sys.exit("a limit is not kept")


if __name__ == "__main__":
    main()
