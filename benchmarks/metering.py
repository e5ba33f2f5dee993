"""What metering adds to one ``invoke``: a chat model that does nothing, bare, with the callback handler, and guarded.

The peer is LangChain's own ``UsageMetadataCallbackHandler``, measured in the same run: it counts tokens and knows
neither money, nor who, nor limits. A handler and a wrapper that do nothing show what LangChain itself takes for having
one, below which nothing can be. The variants take turns, so that a busy machine slows all of them; each number is
the CPU time of this thread in the fastest of many small batches.

    python benchmarks/metering.py [--rounds 200] [--calls 10] [--check] [--json]

``--check`` exits with 1 when a variant adds more than its limit, in multiples of what the peer adds.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig

from costguard_core import CostGuard
from langchain_costguard import CostGuardCallbackHandler, GuardedChatModel

PRICES = {"bench": {"input": "1", "output": "10"}}
PEER = "UsageMetadataCallbackHandler"
LIMITS = {"handler, metering": 2.0, "GuardedChatModel, three budgets": 4.0}  # times what the peer adds


class InstantChatModel(BaseChatModel):
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


class IdleHandler(BaseCallbackHandler):
    """Hears the start and the end of a run, and does nothing."""

    run_inline = True

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None: ...
    def on_llm_end(self, *args: Any, **kwargs: Any) -> None: ...


class IdleWrapper(InstantChatModel):
    """Hands every call to another model, and does nothing else."""

    inner: BaseChatModel

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self.inner._generate(messages, *args, **kwargs)


def variants() -> dict[str, Callable[[], object]]:
    """One call of each variant, by name; the first is the bare model."""
    bare, question = InstantChatModel(), "What is the return policy?"
    peer: RunnableConfig = {"callbacks": [UsageMetadataCallbackHandler()]}
    metered: RunnableConfig = {"callbacks": [CostGuardCallbackHandler(CostGuard(prices=PRICES))]}
    idle: RunnableConfig = {"callbacks": [IdleHandler()]}
    wrapper = IdleWrapper(inner=bare)
    limited = CostGuard(["$2500/day per user", "$200/minute", "900000 requests/hour"], prices=PRICES)
    budgeted: RunnableConfig = {"callbacks": [CostGuardCallbackHandler(limited)]}
    guarded = GuardedChatModel(bare, limited, cache=False)
    return {
        "bare": lambda: bare.invoke(question),
        PEER: lambda: bare.invoke(question, peer),
        "handler that does nothing": lambda: bare.invoke(question, idle),
        "wrapper that does nothing": lambda: wrapper.invoke(question),
        "handler, metering": lambda: bare.invoke(question, metered),
        "handler, three budgets": lambda: bare.invoke(question, budgeted),
        "GuardedChatModel, three budgets": lambda: guarded.invoke(question),
    }


def cpu_microseconds(call: Callable[[], object], calls: int) -> float:
    """CPU time of this thread per call, over one batch."""
    call()  # unmeasured: it pays for the caches that the variant before left cold
    start = time.thread_time_ns()
    for _ in range(calls):
        call()
    return (time.thread_time_ns() - start) / calls / 1000


def measure(rounds: int, calls: int) -> dict[str, float]:
    """Microseconds of one call of each variant: the least of ``rounds`` batches of ``calls``."""
    found = variants()
    for call in found.values():
        cpu_microseconds(call, 50)  # warm
    gc.collect()
    gc.freeze()  # what was imported is not collected again
    times = dict.fromkeys(found, float("inf"))
    order = random.Random(7)
    for _ in range(rounds):  # in another order each time: whoever follows a large variant finds colder memory
        for name in order.sample(list(found), len(found)):
            times[name] = min(times[name], cpu_microseconds(found[name], calls))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--calls", type=int, default=10, help="per round and variant")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a variant is over its limit")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    times = measure(options.rounds, options.calls)
    added = {name: taken - times["bare"] for name, taken in times.items()}
    ratios = {name: more / added[PEER] for name, more in added.items()}
    if options.json:
        print(json.dumps({"microseconds": times, "added_versus_peer": ratios}))
    else:
        print(f"{'variant':34} {'us/invoke':>10} {'added':>8} {'vs peer':>8} {'limit':>6}")
        for name, taken in times.items():
            limit = f"{LIMITS[name]:.1f}" if name in LIMITS else ""
            print(f"{name:34} {taken:10.0f} {added[name]:8.0f} {ratios[name]:8.2f} {limit:>6}")
    if options.check and (over := [name for name, limit in LIMITS.items() if ratios[name] > limit]):
        sys.exit(f"over the limit: {', '.join(over)}")


if __name__ == "__main__":
    main()
