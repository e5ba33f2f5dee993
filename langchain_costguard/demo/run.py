"""The demo itself: one provider, one workload, two runs. Also a complete example of Costguard in LangChain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from costguard_core.cache.semantic.hit import NearMiss
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.errors import ConfigurationError, CostGuardError, MissingExtraError
from costguard_core.pricing import PriceBook
from costguard_core.simulate import Latency, Simulator
from costguard_core.usage.token_counter import TokenCounter
from langchain_costguard import CostGuard, ExactCache, GuardedChatModel, LayeredCache, SemanticCache, TieredRouter
from langchain_costguard.demo.compare import Comparison, money
from langchain_costguard.demo.play import FAILED, PROVIDER_NAME, Result, play
from langchain_costguard.demo.workload import Request, support_day

# An hour's conversation with one person costs a cent or two; only something that has lost its way needs more than this.
BUDGETS = ("$0.10/hour per session", "$1/day per user")

# High enough that two questions are about the same thing; whether they ask the same is for the vetoes to say.
_THRESHOLD = 0.8

# About an eighth of what a large model really takes: nobody wants to watch a demo for five minutes.
REALISTIC = Latency(median=0.125, sigma=0.35, per_token=0.0009)
FAST = Latency(median=0.01)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asked for. ``base_url=None``: a simulated provider in this process."""

    model: str = "gpt-4.1"
    cheap: str | None = None
    base_url: str | None = None
    api_key: str = field(default="simulated", repr=False)
    seed: int = 7
    fast: bool = False
    ledger: str = "memory://"
    max_retries: int = 2

    def title(self, comparison: Comparison) -> str:
        users = len({result.request.user for result in comparison.without})
        where = urlsplit(self.base_url).hostname if self.base_url else "simulated provider"
        models = f"{self.model} and {self.cheap}" if self.cheap else self.model
        return f"A support bot's day\n{len(comparison.without)} requests of {users} users to {models}, {where}"


def run_demo(settings: Settings, *, progress_to: Console | None = None) -> Comparison:
    """Play the day twice.

    Raises:
        ConfigurationError: if nobody knows the price of the model, so that there are no bills to compare.
        CostGuardError: if the provider answers no request at all.
    """
    requests = support_day(seed=settings.seed)
    guard = CostGuard(BUDGETS, ledger=settings.ledger)
    for name in filter(None, (settings.model, settings.cheap)):
        if not guard.prices.is_priced(name, PROVIDER_NAME):
            raise ConfigurationError(f"no price is known for {name!r}: choose a model that has one, e.g. gpt-4.1")
    with _progress(progress_to) as follow:

        def played(label: str, made: Callable[[str], BaseChatModel]) -> list[Result]:
            on_result = follow(label, len(requests))
            with _provider(settings) as base_url:  # a fresh one for each run: its prompt cache starts empty
                model = made(base_url)
                return play(requests, model, prices=guard.prices, on_result=on_result)

        without = played("Without Costguard", lambda base_url: _chat_model(settings, base_url, settings.model))
        _must_have_answers(without)
        cache = _cache()
        guarded = played(
            "With Costguard", lambda base_url: GuardedChatModel(_routed(settings, base_url), guard, cache=cache)
        )
        _must_have_answers(guarded)
    guard.close()
    return Comparison(without, guarded, _near_misses(cache))


def _cache() -> LayeredCache:
    """Exact repeats, and the same questions in other words where the embedding model of the demo is installed."""
    exact = ExactCache("memory://")
    try:
        # In memory, because the demo leaves nothing behind; an application gives it a folder: path="costguard.chroma".
        semantic = SemanticCache("wordllama", index=MemoryIndex(), decide="guarded", threshold=_THRESHOLD)
    except MissingExtraError:
        return LayeredCache([exact])
    return LayeredCache([exact, semantic])


def _near_misses(cache: LayeredCache) -> list[NearMiss]:
    """The nearest first: endpoints run side by side, so the order in which they were found says nothing."""
    found = [miss for layer in cache.layers if isinstance(layer, SemanticCache) for miss in layer.near_misses()]
    return sorted(found, key=lambda miss: (-round(miss.similarity, 3), miss.question, miss.stored))


def _must_have_answers(results: Sequence[Result]) -> None:
    """A day without a single answer saves everything and shows nothing."""
    if all(result.source == FAILED for result in results):
        raise CostGuardError(f"no request was answered; the first error was: {results[0].error}")


def worst_case(settings: Settings) -> str:
    """The most that both runs together can cost, for the question before a real provider is paid."""
    tokens, prices = TokenCounter(), PriceBook()

    def most(request: Request) -> int | None:
        counted = tokens.count_chat(request.messages, model=settings.model)
        return prices.worst_case(
            model=settings.model, provider=PROVIDER_NAME, input_tokens=counted.bound, output_tokens=request.max_tokens
        )

    costs = [most(request) for request in support_day(seed=settings.seed)]
    known = [cost for cost in costs if cost is not None]
    return money(2 * sum(known)) if len(known) == len(costs) else "an unknown amount (the model has no price)"


def is_simple(messages: Any) -> bool:
    """Call sites where the answer is in the prompt, or is one word of seven: a small model will do."""
    return messages.tag in ("/faq", "/triage")


def _routed(settings: Settings, base_url: str) -> BaseChatModel:
    strong = _chat_model(settings, base_url, settings.model)
    if settings.cheap is None:
        return strong
    return TieredRouter((is_simple, _chat_model(settings, base_url, settings.cheap)), strong)


def _chat_model(settings: Settings, base_url: str, name: str) -> BaseChatModel:
    try:
        from langchain_openai import ChatOpenAI
    except ImportError as error:
        raise MissingExtraError("the demo", "demo") from error
    return ChatOpenAI(
        model=name,
        base_url=base_url,
        api_key=SecretStr(settings.api_key),
        max_retries=settings.max_retries,
        stream_usage=True,
    )


@contextmanager
def _provider(settings: Settings) -> Iterator[str]:
    if settings.base_url is not None:
        yield settings.base_url
        return
    with Simulator(latency=FAST if settings.fast else REALISTIC) as server:
        yield server.base_url


@contextmanager
def _progress(console: Console | None) -> Iterator[Callable[[str, int], Callable[[Result], None]]]:
    """Live bars on a terminal, nothing elsewhere."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[spend]}"),
    )
    quiet = console is None or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=quiet) as bars:

        def follow(label: str, requests: int) -> Callable[[Result], None]:
            task = bars.add_task(label, total=requests, spend=money(0))
            costs: list[int] = []  # results come from several threads: appending is atomic, adding up is not

            def on_result(result: Result) -> None:
                costs.append(result.cost)
                bars.update(task, advance=1, spend=money(sum(costs)))

            return on_result

        yield follow
