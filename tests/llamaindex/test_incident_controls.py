"""Every control of an incident, in both adapters: it is in the status, on the page, and an alert tells of it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from asgi_server import serving
from langchain_models import chat_model

from costguard_core import Alert, Breaker, CostGuard, SpendLimitExceeded, attribute
from costguard_core.simulate import Simulator
from costguard_core.web.app import Page, create_page

Ask = Callable[[str], str]
MODELS = ("gpt-4o-mini", "gpt-4o")
PRICES = {
    "gpt-4o-mini": {"input": "0", "output": "0", "request": "0.01"},
    "gpt-4o": {"input": "0", "output": "0", "request": "0.10"},
}


class Control(NamedTuple):
    """A control of an incident.

    Attributes:
        play: makes the calls that set it off, with a model of the dearer kind.
        alert: the kind of its alert.
        status, page: what is read there.
        options: of the guard.
    """

    play: Callable[[CostGuard, Ask], None]
    alert: str
    status: str
    page: str
    options: dict[str, Any] = {}


def loop(guard: CostGuard, ask: Ask) -> None:
    with attribute(session="s1"):
        for _ in range(2):
            ask("Again?")
        with pytest.raises(SpendLimitExceeded, match="loop"):
            ask("Again?")


def subagents(guard: CostGuard, ask: Ask) -> None:
    """Two subagents use up what their agent has."""
    with guard.agent("boss", limit="$0.20"):
        for name in ("left", "right"):
            with guard.agent(name, limit="$1"):
                ask(f"Part {name}?")
        with guard.agent("third", limit="$1"), pytest.raises(SpendLimitExceeded, match="agent boss"):
            ask("More?")


def wrap_up(guard: CostGuard, ask: Ask) -> None:
    with guard.agent("writer", limit="$1", wrap_up=0.1) as run:
        ask("A chapter?")
        assert run.should_conclude


def caps(guard: CostGuard, ask: Ask) -> None:
    guard.emergency(max_input=1, reason="spike", by="ann")
    with pytest.raises(SpendLimitExceeded, match="emergency"):
        ask("A long question?")


def static_answer(guard: CostGuard, ask: Ask) -> None:
    ask("The one that opens it?")
    assert ask("Another?") == "Busy."


def queue(guard: CostGuard, ask: Ask) -> None:
    ask("The one that opens it?")
    with pytest.raises(SpendLimitExceeded, match="breaker"):
        ask("Another?")  # it has waited


def degraded(guard: CostGuard, ask: Ask) -> None:
    guard.emergency(cheapest=True)
    ask("Anything?")
    guard.flush()
    assert [event.model for event in guard.ledger.events()] == ["gpt-4o-mini"]


CONTROLS = {
    "loop": Control(loop, "loop", "stopped: session=s1 until", "Stopped in a loop:", {"loops": 2}),
    "subagents": Control(subagents, "agent", "agent boss, run ", "0.20 of $0.20 spent, stopped"),
    "wrap up": Control(wrap_up, "wrap up", "told to conclude", "1 of 1 told to conclude"),
    "caps": Control(caps, "emergency", "EMERGENCY: 1 input token/call", "Emergency caps are in force:"),
    "static answer": Control(
        static_answer,
        "breaker",
        "breaker: open",
        "The breaker is not closed:",
        {"breaker": Breaker("$0.05/minute", answer="Busy.")},
    ),
    "queue": Control(
        queue,
        "breaker",
        "breaker: open",
        "The breaker is not closed:",
        {"breaker": Breaker("$0.05/minute", on_open="wait", wait_timeout=0.01)},
    ),
    "degraded": Control(degraded, "emergency", "cheapest tier only", "cheapest tier only"),
}


def langchain_ask(guard: CostGuard, server: Simulator, *, routed: bool) -> Ask:
    from langchain_costguard import GuardedChatModel, TieredRouter

    models = [chat_model(server, name, max_tokens=20) for name in MODELS]
    model: Any = GuardedChatModel(models[1], guard, cache=False)
    if routed:
        model = TieredRouter(cheap=models[0], strong=models[1], guard=guard, share=1.0, score=lambda request: 1.0)
    return lambda text: str(model.invoke(text).content)


def llamaindex_ask(guard: CostGuard, server: Simulator, make: Any, *, routed: bool) -> Ask:
    from llamaindex_costguard import TieredRouter, guard_llm

    models = [make(model=name) for name in MODELS]
    llm = guard_llm(models[1], guard)
    if routed:
        llm = TieredRouter(cheap=models[0], strong=models[1], guard=guard, share=1.0, score=lambda request: 1.0)
    return lambda text: str(llm.complete(text).text)


@contextmanager
def page_of(guard: CostGuard) -> Iterator[Callable[[], str]]:
    page = Page(guard.ledger, read_status=lambda: guard.status(limit=200))
    with ExitStack() as stack:
        url = stack.enter_context(serving(create_page(page), lifespan="off"))
        browser = stack.enter_context(httpx.Client(base_url=url))
        yield lambda: " ".join(html.unescape(browser.get("/").text).split())


@pytest.mark.parametrize("adapter", ["langchain", "llamaindex"])
@pytest.mark.parametrize("name", CONTROLS)
def test_it_is_seen_in_the_status_on_the_page_and_as_an_alert(
    name: str, adapter: str, make_openai: Any, openai_server: Simulator
) -> None:
    control, heard = CONTROLS[name], list[Alert]()

    def hear(told: Any) -> None:
        if isinstance(told, Alert):
            heard.append(told)

    with CostGuard(prices=PRICES, hooks=[hear], **control.options) as guard, page_of(guard) as page:
        routed = name == "degraded"
        if adapter == "langchain":
            ask = langchain_ask(guard, openai_server, routed=routed)
        else:
            ask = llamaindex_ask(guard, openai_server, make_openai, routed=routed)
        assert control.status not in str(guard.status())
        assert control.page not in page()
        control.play(guard, ask)
        assert control.alert in [alert.kind for alert in heard]
        assert control.status in str(guard.status())
        assert control.page in page()
