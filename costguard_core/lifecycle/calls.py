"""The request of a model call as the guard has it, from what its prompt and its parameters say."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from costguard_core.budgets.agents import CURRENT
from costguard_core.cache.answer import Answer, CachedAnswer, net_saving, saved_in
from costguard_core.lifecycle.model_settings import ModelSettings
from costguard_core.pricing.providers import seller_of
from costguard_core.types import Attribution, Baseline, Call, Usage, fingerprint, step_of
from costguard_core.usage.media import audio_bound, visual_bound
from costguard_core.usage.parameters import (
    Known,
    as_sent,
    model_name,
    output_limit,
    positive,
    requested_tier,
    terms_of,
)
from costguard_core.usage.server_tools import NO_TOOLS
from costguard_core.usage.token_counter import Count, ReadPrompt
from costguard_core.util.forks import after_fork

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard


def chat_call(
    guard: CostGuard,
    prompt: ReadPrompt,
    known: Known,
    params: Mapping[str, Any],
    attribution: Attribution,
    *,
    cappable: bool = False,
    attempts: int = 1,
    profile: Mapping[str, Any] | None = None,
    route: str | None = None,
    baseline: Baseline | None = None,
    host: str | None = None,
    account: str | None = None,
) -> Call:
    """A chat request as a :class:`Call`; its fields are what is not explained here.

    The prompt is counted only if a budget needs it; with tools and images it is an upper bound.

    Args:
        known: what the framework says of the model.
        params: how the model is invoked, in the provider's names.
        profile: LangChain's and models.dev's facts of a model: ``max_output_tokens``, ``reasoning_output``.
    """
    counts = guard.rules_count_tokens or CURRENT.get() is not None  # guard.counts_tokens, without a call more
    terms = terms_of(known, params, counts=counts)
    model, provider, limit = terms.model, terms.provider, terms.max_output_tokens
    counted = prompt.counted(guard.tokens, model, provider, terms.described, terms.hidden) if counts else None
    tokens, estimated, context, added, hosted = None, False, None, 0, terms.hosted
    if counted is not None:
        tokens, estimated = counted.bound, counted.estimated
        if limit is None or hosted.rounds:
            context = guard.prices.context_tokens(model, provider)
            added = hosted.added(tokens, context) if hosted.rounds else hosted.tokens
    # By position, in the order of the fields: half of the time that names take.
    return Call(
        guard.new_id(),
        model,
        guard.clock(),
        provider,
        attribution,
        tokens,
        estimated,
        limit,
        profile.get("max_output_tokens") if profile else None,
        bool(profile and profile.get("reasoning_output")),
        terms.caches or prompt.caches,
        terms.choices,
        attempts,
        terms.tier,
        cappable and not terms.sets_limit_last,
        "chat",
        fingerprint(prompt.texts),
        route,
        baseline,
        host,
        account,
        audio_bound(prompt.media, model, provider) if prompt.media else 0,
        terms.speaks,
        hosted.searches,
        added,
        terms.thinking_tokens,
        context if limit is None else None,
        step_of(prompt.texts) if guard.finds_loops else None,
        terms.caches_for_hour or prompt.caches_for_hour,
        visual_bound(prompt.media, model, provider) if prompt.media and counts else 0,
        hosted.pieces,
        hosted.pictures,
    )


class CallPrompt(Protocol):
    """What is asked in one call of a model that is an object with settings."""

    @property
    def kind(self) -> str:
        """``chat`` or ``completion``."""

    @property
    def is_structured(self) -> bool:
        """Its answer is an object that the integration asks its provider for by itself, with limits of its own."""

    @property
    def read(self) -> ReadPrompt:
        """The prompt as it is counted."""

    def counted(self, guard: CostGuard, model: str, provider: str | None, arguments: Mapping[str, Any]) -> Count:
        """Its tokens, in a call with these arguments."""


def settings_call(
    guard: CostGuard,
    prompt: CallPrompt,
    settings: ModelSettings,
    arguments: Mapping[str, Any],
    attribution: Attribution,
    *,
    started: float,
    fixed_output: bool,
    attempts: int,
    account: str | None,
    route: str | None = None,
    baseline: Baseline | None = None,
) -> Call:
    """A request to a model that is an object with settings, as a :class:`Call`; see :func:`chat_call`.

    Args:
        arguments: of the call, beside the prompt.
        started: unix seconds at which it was asked for.
        fixed_output: no smaller limit than its own may be sent.
    """
    counts = guard.rules_count_tokens or CURRENT.get() is not None  # as in `chat_call`
    if arguments:
        settings = settings.called_with(arguments, counts=counts)
    model, provider, structured = settings.model, settings.provider, prompt.is_structured
    limit = output_limit(arguments) if structured else settings.limit
    tokens, estimated, hosted, audio, visual, context, thinking, added = None, False, NO_TOOLS, 0, 0, None, 0, 0
    read = prompt.read
    if counts:
        count = prompt.counted(guard, model, provider, arguments)
        tokens, estimated = count.bound, count.estimated
        thinking, hosted = settings.thinking_tokens, settings.server_tools
        if read.media:
            audio = audio_bound(read.media, model, provider)
            visual = visual_bound(read.media, model, provider)
        context = guard.prices.context_tokens(model, provider) if limit is None or hosted.rounds else None
        added = hosted.added(tokens, context) if hosted.rounds else hosted.tokens
    return Call(  # in the order of the fields, as in `chat_call`
        guard.new_id(),
        model,
        started,
        provider,
        attribution,
        tokens,
        estimated,
        limit,
        None,
        settings.thinks,
        read.caches or settings.caches,
        settings.choices,
        attempts,
        settings.tier,
        settings.limit_field is not None and not structured and not fixed_output,
        prompt.kind,
        fingerprint(read.texts),
        route,
        baseline,
        settings.host,
        account,
        audio,
        settings.speaks,
        hosted.searches,
        added,
        thinking,
        context if limit is None else None,
        step_of(read.texts) if guard.finds_loops else None,
        False,
        visual,
        hosted.pieces,
        hosted.pictures,
    )


def text_call(
    guard: CostGuard,
    prompt: str,
    known: Known,
    params: Mapping[str, Any],
    attribution: Attribution,
    *,
    host: str | None = None,
    account: str | None = None,
) -> Call:
    """A completion request as a :class:`Call`; arguments as in :func:`chat_call`."""
    params = as_sent(params)
    model, provider = model_name(known, params), known.provider
    counted = guard.tokens.count(prompt, model=model, provider=provider) if guard.counts_tokens else None
    return Call(
        id=guard.new_id(),
        model=model,
        started=guard.clock(),
        provider=provider,
        attribution=attribution,
        input_tokens=counted.bound if counted else None,
        input_estimated=counted.estimated if counted else False,
        max_output_tokens=output_limit(params, known),
        choices=max(positive(params.get("n")) or 1, positive(params.get("best_of")) or 1),
        tier=requested_tier(params),
        kind="completion",
        fingerprint=fingerprint([prompt]),
        host=host,
        account=account,
    )


def hit_call(
    guard: CostGuard,
    texts: Iterable[str],
    model: str,
    provider: str | None,
    attribution: Attribution,
    *,
    kind: str = "chat",
    started: float | None = None,
    route: str | None = None,
    baseline: Baseline | None = None,
    host: str | None = None,
    account: str | None = None,
) -> Call:
    """A request that costs nothing: only what the ledger says of it. ``texts`` are those of its prompt."""
    return Call(
        guard.new_id(),
        model,
        guard.clock() if started is None else started,
        provider,
        attribution,
        kind=kind,
        fingerprint=fingerprint(texts),
        route=route,
        baseline=baseline,
        host=host,
        account=account,
    )


def record_hit(guard: CostGuard, call: Call, cached: CachedAnswer, answer: Answer | None = None) -> None:
    """Record an answer that a cache gave to ``call``: what it saved is what it cost, else the price of its usage; less
    what asking for it cost. ``answer`` is ``cached.answer``, if that was made already."""
    answer = answer or cached.answer
    saved = answer.cost
    if saved is None and answer.usage is not None:
        saved = price_of(guard, call, answer.usage)
    saved = net_saving(saved, cached.marks) if cached.marks else saved
    guard.hit(call, cached.outcome, saved=saved, usage=answer.usage)


def prompt_tokens(guard: CostGuard, prompt: ReadPrompt, known: Known, params: Mapping[str, Any]) -> int:
    """The prompt counted, for an answer without usage; arguments as in :func:`chat_call`."""
    terms = terms_of(known, params, counts=True)
    return prompt.counted(guard.tokens, terms.model, terms.provider, terms.described, terms.hidden).tokens


def saved_nanos(guard: CostGuard, call: Call, usage: Usage | None, mark: Mapping[str, Any]) -> int | None:
    """What a hit saved: the price of the usage that it did not cause, else what its mark says."""
    if usage is not None:
        priced = price_of(guard, call, usage)
        if priced is not None:
            return net_saving(priced, mark)
    return saved_in(mark)


def price_of(guard: CostGuard, call: Call, usage: Usage) -> int | None:
    """What the seller that ``call`` would have been sent to asks for ``usage`` (nano-dollars), if it is known."""
    seller = seller_of(call.provider, call.host)
    return guard.prices.cost(usage, model=call.model, provider=seller, at=call.started)


class CallIds:
    """Ids of 48 hexadecimal digits: the time in nanoseconds, who makes them, and a counter.

    They begin with the time because a large ledger takes rows in order three times faster than random ones. The random
    part is drawn once per process: asking the system for every call took longer than all the rest of metering (70 us
    against 1 us).
    """

    def __init__(self, prefix: str = "") -> None:
        """``prefix``: what each id begins with, before the digits."""
        self._prefix = prefix
        self._begin()
        after_fork(self, "_begin")

    def __call__(self) -> str:
        return f"{self._prefix}{time.time_ns():016x}{self._origin}{next(self._numbers):016x}"

    def _begin(self) -> None:
        """In a new process, or a fork of an old one."""
        self._origin, self._numbers = secrets.token_hex(8), count()
