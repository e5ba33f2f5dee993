"""How many of Costguard's own functions run, and in how many of its files, while one guarded call is made.

The calls are counted with ``sys.setprofile``: each ``call`` event whose code lies in ``costguard_core``,
``langchain_costguard`` or ``llamaindex_costguard`` counts once. That includes a generator each time it is resumed and a
comprehension, where the interpreter runs it in a frame of its own (up to Python 3.11). The models answer without a
network, everything is warm (the first two calls are not counted), and what other threads do is left out. Of three calls
the one with the fewest counts: once a second clocks are compared, and once in a while a counter's next bucket begins.

    python benchmarks/call_count.py [--check] [--files] [--functions] [--json]

``--check`` exits with 1 when a row is over its limit.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.llms import ChatMessage, MockLLM

from costguard_core import CostGuard, attribute
from langchain_costguard import ExactCache, GuardedChatModel
from llamaindex_costguard import guard_llm

ROOT = Path(__file__).parent.parent
PACKAGES = tuple(f"{ROOT / name}/" for name in ("costguard_core", "langchain_costguard", "llamaindex_costguard"))
BUDGETS = ["$25/day per user", "60 requests/minute per user", "$0.50/call"]
PRICE = {"input": "1", "output": "10"}
WARM_CALLS, COUNTED_CALLS = 2, 3


class InstantChatModel(BaseChatModel):
    """Answers at once, with a model name, an output limit and the usage that a provider would report."""

    model: str = "instant"
    max_tokens: int = 64

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _generate(self, messages: list[BaseMessage], *args: object, **kwargs: object) -> ChatResult:
        usage = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}
        answer = AIMessage("A short answer.", usage_metadata=usage, response_metadata={"model_name": "instant"})
        return ChatResult(generations=[ChatGeneration(message=answer)])


class Limit(NamedTuple):
    calls: int
    files: int


LIMITS = {
    "LangChain miss": Limit(120, 15),
    "LangChain hit": Limit(50, 10),
    "LlamaIndex miss": Limit(140, 16),
    "LlamaIndex hit": Limit(60, 10),
}


class CallCount(NamedTuple):
    """The calls of each function of ours, by file and qualified name."""

    functions: Counter[tuple[str, str]]

    @property
    def calls(self) -> int:
        return self.functions.total()

    @property
    def files(self) -> list[str]:
        return sorted({file for file, _ in self.functions})


def count_calls(call: Callable[[], object]) -> CallCount:
    """Runs ``call`` once under the profiler of this thread."""
    found: Counter[CodeType] = Counter()

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGES):
            found[frame.f_code] += 1

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    functions: Counter[tuple[str, str]] = Counter()
    for code, calls in found.items():
        functions[str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname] += calls
    return CallCount(functions)


def scenarios() -> dict[str, Callable[[], object]]:
    """One callable per row. A miss asks something new each time, a hit the same question again."""
    questions = count()
    prices = {"instant": PRICE, "MockLLM": PRICE}
    guarded_model = GuardedChatModel(InstantChatModel(), CostGuard(BUDGETS, prices=prices), cache=ExactCache())
    guarded_llm = guard_llm(MockLLM(max_tokens=5), CostGuard(BUDGETS, prices=prices), cache="memory://")

    def ask(text: str) -> list[ChatMessage]:
        return [ChatMessage(role="user", content=text)]

    return {
        "LangChain miss": lambda: guarded_model.invoke(f"What does paragraph {next(questions)} of the contract say?"),
        "LangChain hit": lambda: guarded_model.invoke("What is the capital of France?"),
        "LlamaIndex miss": lambda: guarded_llm.chat(ask(f"What does paragraph {next(questions)} of the contract say?")),
        "LlamaIndex hit": lambda: guarded_llm.chat(ask("What is the capital of France?")),
    }


def measure() -> dict[str, CallCount]:
    counts = {}
    for name, call in scenarios().items():
        with attribute(user="u1"):
            for _ in range(WARM_CALLS):
                call()
            counts[name] = min([count_calls(call) for _ in range(COUNTED_CALLS)], key=lambda found: found.calls)
            assert ("'cache': 'exact'" in repr(call())) == name.endswith("hit"), name
    return counts


def exceeded(counts: dict[str, CallCount]) -> list[str]:
    """The rows that are over their limit."""
    return [n for n, c in counts.items() if c.calls > LIMITS[n].calls or len(c.files) > LIMITS[n].files]


def show(counts: dict[str, CallCount], *, files: bool, functions: bool) -> None:
    print(f"{'one call':18} {'calls':>6} {'limit':>6} {'files':>6} {'limit':>6}")
    for name, found in counts.items():
        limit = LIMITS[name]
        print(f"{name:18} {found.calls:6} {limit.calls:6} {len(found.files):6} {limit.files:6}")
    for name, found in counts.items() if files or functions else ():
        print(f"\n{name}")
        for file in found.files:
            inside = [(n, function) for (where, function), n in found.functions.items() if where == file]
            print(f"{sum(n for n, _ in inside):6} {file}")
            for calls, function in sorted(inside, key=lambda row: (-row[0], row[1])) if functions else ():
                print(f"{calls:14} {function}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a row is over its limit")
    parser.add_argument("--files", action="store_true", help="also print the files, with the calls in each")
    parser.add_argument("--functions", action="store_true", help="also print the functions of each file")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts = measure()
    if options.json:
        print(json.dumps({name: {"calls": found.calls, "files": found.files} for name, found in counts.items()}))
    else:
        show(counts, files=options.files, functions=options.functions)
    if options.check and (over := exceeded(counts)):
        sys.exit(f"over the limit: {', '.join(over)}")


if __name__ == "__main__":
    main()
