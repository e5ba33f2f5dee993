"""Play the day through a chat model, its endpoints side by side, and note from the outside what each request got.

Nothing here depends on how Costguard counts: cost comes from the usage that the provider reported with each answer.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage

from costguard_core import SpendLimitExceeded, attribute
from costguard_core.pricing import PriceBook
from costguard_core.usage.reader import read_langchain
from langchain_costguard.demo.workload import Request
from langchain_costguard.router.router import TieredRouter

PROVIDER_NAME = "openai"  # whose prices apply
PROVIDER = "model"
REFUSED = "refused"
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """What one request got. ``source`` is who answered: ``"model"`` (the provider), the name of a cache (``"exact"``),
    ``"refused"`` or ``"failed"``. ``cost`` is nano-dollars, ``latency`` seconds. ``routed``: by the cheaper model."""

    request: Request
    source: str
    cost: int
    latency: float
    error: str = ""
    routed: bool = False


def play(
    requests: Iterable[Request],
    model: BaseChatModel,
    *,
    prices: PriceBook,
    on_result: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Send every request in order of time; ``on_result`` is told as they finish.

    Each endpoint has a thread of its own and its calls follow one another, because what a call costs depends on those
    before it: what is cached, what the provider has cached, what is left of a budget. No two endpoints share a prompt,
    so every run comes to the same figures, however busy the machine is.
    """
    requests = list(requests)
    ask = partial(_noted, model=model, prices=prices, on_result=on_result)
    with ExitStack() as stack:
        lanes = {request.endpoint: stack.enter_context(ThreadPoolExecutor(1)) for request in requests}
        answers = [lanes[request.endpoint].submit(ask, request) for request in requests]
        try:
            return [answer.result() for answer in answers]
        finally:  # Ctrl-C does not wait for the rest of the day
            for answer in answers:
                answer.cancel()


def _noted(request: Request, *, model: BaseChatModel, prices: PriceBook, on_result: Callable[[Result], None]) -> Result:
    started, routed = time.perf_counter(), False
    try:
        answer = _ask(request, model)
        source, cost, error = _source(answer), _cost(answer, model, prices), ""
        routed = source == PROVIDER and isinstance(model, TieredRouter) and _model(answer, model) == model.tiers[0].name
    except SpendLimitExceeded as refusal:
        source, cost, error = REFUSED, 0, str(refusal)
    except Exception as failure:  # a real provider has bad days, and one of them must not end the demo
        source, cost, error = FAILED, 0, f"{type(failure).__name__}: {failure}"
    result = Result(request, source, cost, time.perf_counter() - started, error, routed)
    on_result(result)
    return result


def _ask(request: Request, model: BaseChatModel) -> AIMessage:
    options: dict[str, Any] = {"max_tokens": request.max_tokens}
    if request.json:
        options["response_format"] = {"type": "json_object"}
    with attribute(user=request.user, session=request.session, endpoint=request.endpoint):
        if request.stream:
            return reduce(operator.add, model.stream(request.messages, **options))
        return model.invoke(request.messages, **options)


def _source(answer: AIMessage) -> str:
    return str(answer.response_metadata.get("costguard", {}).get("cache", PROVIDER))


def _cost(answer: AIMessage, model: object, prices: PriceBook) -> int:
    """Nano-dollars of a paid answer; a model that has no price costs nothing that we could add up."""
    if _source(answer) != PROVIDER or answer.usage_metadata is None:
        return 0
    usage = read_langchain(answer.usage_metadata, answer.response_metadata)
    return prices.cost(usage, model=_model(answer, model), provider=PROVIDER_NAME) or 0


def _model(answer: AIMessage, model: Any) -> str:
    """Who answered: the tier of a router, which is called what its model is called."""
    route = answer.response_metadata.get("costguard", {}).get("route")
    return str(route["tier"] if route else model.model_name)
