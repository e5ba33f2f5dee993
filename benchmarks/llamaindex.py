"""What a guarded LLM adds to one ``MockLLM.chat``: a miss, and a hit. CPU time of this thread, least of many rounds.

The peer is the bare ``MockLLM.chat`` of the same run; LlamaIndex's own ``TokenCountingHandler`` stands beside it, which
counts tokens and knows neither money, nor who, nor limits. Ways take turns, so that a busy machine slows all of them.

    python benchmarks/llamaindex.py [--rounds 200] [--calls 20] [--messages 1] [--json]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import ChatMessage, MockLLM

from costguard_core import CostGuard
from llamaindex_costguard import guard_llm

PRICES = {"MockLLM": {"input": "1", "output": "10"}}
BUDGETS = ["$2500/day per user", "$200/minute", "900000 requests/hour"]
MISS_BAR, HIT_BAR = 60, 2  # microseconds added at most; times faster at least


def ways(messages: list[ChatMessage]) -> dict[str, Callable[[], Any]]:
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


def microseconds(call: Callable[[], Any], calls: int) -> float:
    start = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - start) / calls / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--messages", type=int, default=1, help="how many messages the prompt has")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prompt = [
        ChatMessage(role="user", content=f"What is the return policy, part {n}?") for n in range(options.messages)
    ]
    callables = ways(prompt)
    for call in callables.values():
        microseconds(call, 50)
    gc.collect()
    gc.freeze()  # what was imported is not looked at again, which makes collecting quick
    gc.disable()
    times = dict.fromkeys(callables, float("inf"))
    for _ in range(options.rounds):
        for name, call in callables.items():
            gc.collect()  # LlamaIndex leaves cycles behind: without this, whoever comes later gets colder memory
            times[name] = min(times[name], microseconds(call, options.calls))
    bare, hit = times["MockLLM.chat"], times["guarded, cache hit"]
    added = times["guarded, no budget"] - bare
    if options.json:
        print(json.dumps({"microseconds": times, "miss_adds": added, "hit_is_faster": bare / hit}))
        return
    print(f"{'way':28} {'us/call':>8} {'added':>8}")
    for name, taken in times.items():
        print(f"{name:28} {taken:8.0f} {taken - bare:8.0f}")
    print(
        f"\na guarded miss adds {added:.0f} us (bar: {MISS_BAR}); "
        f"a hit is {bare / hit:.1f} times faster (bar: {HIT_BAR})"
    )


if __name__ == "__main__":
    main()
