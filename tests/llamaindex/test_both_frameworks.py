"""One bill for LangChain and LlamaIndex in one process; and neither adapter loads the other's framework."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from python_process import run_python

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.simulate import Simulator
from langchain_costguard import GuardedChatModel
from llamaindex_costguard import guard_llm


@pytest.fixture
def chain(openai_server: Simulator) -> Any:
    return ChatOpenAI(
        model="gpt-4o-mini", base_url=openai_server.base_url, api_key="simulated", max_tokens=64, max_retries=0
    )


def test_half_of_a_budget_in_each_and_no_more(make_openai: Any, chain: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["10 requests/day"])
    langchain, llama = GuardedChatModel(chain, guard, cache=False), guard_llm(make_openai(), guard)
    for number in range(5):
        langchain.invoke(f"question {number}")
        llama.chat([ChatMessage(role="user", content=f"question {number}")])
    for refused in (lambda: langchain.invoke("more"), lambda: llama.complete("more")):
        with pytest.raises(SpendLimitExceeded) as caught:
            refused()
        assert (caught.value.limit, caught.value.spent) == (10, 10)
    assert openai_server.count == 10
    guard.flush()
    assert [event.outcome.value for event in guard.ledger.events()] == ["miss"] * 10 + ["refused"] * 2


def test_the_same_call_costs_the_same(make_openai: Any, chain: Any, openai_server: Simulator) -> None:
    guard = CostGuard(["$1/day"])
    openai_server.reply = lambda body: "always the same"
    GuardedChatModel(chain, guard, cache=False).invoke("hi")
    guard_llm(make_openai(max_tokens=64), guard).chat([ChatMessage(role="user", content="hi")])
    guard.flush()
    first, second = guard.ledger.events()
    assert (first.cost, first.usage, first.model, first.provider) == (
        second.cost,
        second.usage,
        second.model,
        second.provider,
    )


def test_money_is_refused_at_exactly_the_limit(make_openai: Any, chain: Any, openai_server: Simulator) -> None:
    """With a fixed answer every call costs the same, so that the budget is spent to the last nano-dollar."""
    openai_server.reply = lambda body: {"content": "x", "output_tokens": 64}
    probe = CostGuard()
    guard_llm(make_openai(max_tokens=64), probe).chat([ChatMessage(role="user", content="hi")])
    probe.flush()
    cost = next(iter(probe.ledger.events())).cost
    assert cost is not None
    openai_server.reset()
    openai_server.reply = lambda body: {"content": "x", "output_tokens": 64}
    guard = CostGuard([f"${4 * cost / 10**9:.9f}/day"])
    langchain = GuardedChatModel(chain, guard, cache=False, fixed_output=True)
    llama = guard_llm(make_openai(max_tokens=64), guard, fixed_output=True)
    for _ in range(2):
        langchain.invoke("hi")
        llama.chat([ChatMessage(role="user", content="hi")])
    for refused in (lambda: langchain.invoke("hi"), lambda: llama.complete("hi")):
        with pytest.raises(SpendLimitExceeded):
            refused()
    assert openai_server.count == 4
    assert guard.status()[0].remaining == 0


@pytest.mark.parametrize(
    ("package", "foreign"),
    [("llamaindex_costguard", ("langchain", "langgraph", "langsmith")), ("langchain_costguard", ("llama_index",))],
)
def test_an_adapter_loads_one_framework(package: str, foreign: tuple[str, ...]) -> None:
    code = f"import sys, {package} as p\nfor name in p.__all__: getattr(p, name)\nprint(*sys.modules)"
    done = run_python(code)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not [name for name in loaded if name.startswith(foreign)]
