"""What metering adds to one ``invoke``: a chat model that does nothing, bare, with the callback handler, and guarded.

The peer is LangChain's own ``UsageMetadataCallbackHandler``, measured in the same run: it counts tokens and knows
neither money, nor who, nor limits. Ways take turns, so that a busy machine slows all of them; the numbers are medians
of the rounds' medians.

    python benchmarks/metering.py [--rounds 7] [--calls 400] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from costguard_core import CostGuard
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel

PRICES = {"bench": {"input": "1", "output": "10"}}


class Instant(BaseChatModel):
    """Answers at once, with the usage that a provider would report."""

    model: str = "bench"
    max_tokens: int = 64

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        usage = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
        answer = AIMessage("A short answer.", usage_metadata=usage, response_metadata={"model_name": "bench"})
        return ChatResult(generations=[ChatGeneration(message=answer)])


def ways() -> dict[str, Callable[[], Any]]:
    bare, question = Instant(), "What is the return policy?"
    peer = {"callbacks": [UsageMetadataCallbackHandler()]}
    metered = {"callbacks": [CostGuardCallbackHandler(CostGuard(prices=PRICES))]}
    limited = CostGuard(["$2500/day per user", "$200/minute", "900000 requests/hour"], prices=PRICES)
    budgeted = {"callbacks": [CostGuardCallbackHandler(limited)]}
    guarded = GuardedChatModel(bare, limited, cache=False)
    return {
        "bare": lambda: bare.invoke(question),
        "UsageMetadataCallbackHandler": lambda: bare.invoke(question, peer),
        "handler, metering": lambda: bare.invoke(question, metered),
        "handler, three budgets": lambda: bare.invoke(question, budgeted),
        "GuardedChatModel, three budgets": lambda: guarded.invoke(question),
    }


def cpu_microseconds(call: Callable[[], Any], calls: int) -> float:
    """CPU time of this thread per call, over one small batch."""
    start = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - start) / calls / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calls", type=int, default=10, help="per round and way")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    callables = ways()
    measured: dict[str, list[float]] = {name: [] for name in callables}
    for call in callables.values():
        cpu_microseconds(call, 50)
    for _ in range(options.rounds):
        for name, call in callables.items():
            measured[name].append(cpu_microseconds(call, options.calls))
    times = {name: statistics.quantiles(rounds, n=10)[0] for name, rounds in measured.items()}
    if options.json:
        print(json.dumps({"microseconds": times}))
        return
    bare, peer = times["bare"], times["UsageMetadataCallbackHandler"] - times["bare"]
    print(f"{'way':34} {'us/invoke':>10} {'added':>8} {'vs peer':>8}")
    for name, taken in times.items():
        added = taken - bare
        print(f"{name:34} {taken:10.0f} {added:8.0f} {added / peer if peer > 0 else float('nan'):8.2f}")


if __name__ == "__main__":
    main()
