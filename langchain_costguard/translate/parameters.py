"""LangChain's words for a call, translated into the core's: messages, parameters and results in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from costguard_core import Attribution, Call, CostGuard, Usage
from costguard_core.types import NANOS_PER_DOLLAR, Baseline, fingerprint
from costguard_core.usage.media import Media, audio_bound
from costguard_core.usage.overhead import hidden_tokens
from costguard_core.usage.prompt_content import read_content
from costguard_core.usage.server_tools import NO_TOOLS, server_tools
from costguard_core.usage.token_counter import Count

MARK = "costguard"
ROUTE = "costguard_route"  # in a run's metadata: the router's decision in one line
INSTEAD, OWED = "costguard_route_instead", "costguard_route_owed"  # what that saves is counted against

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict", "max_new_tokens")
_SENT_LAST = "extra_body"
_OPTIONS = "options"  # Ollama's
_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name")
# What of a request describes tools, or the form of the answer: it becomes part of the prompt.
_DESCRIBING = (
    "tools functions response_format text output_config output_format outputConfig toolConfig response_schema "
    "response_json_schema text_format"
).split()


# Values that can neither be changed nor be equal to something else of their type: parameters of nothing else are worked
# out once.
_PLAIN = frozenset((str, int, float, bool, type(None)))
_MOST_REMEMBERED = 512  # sets of parameters; a choice


class _Read(NamedTuple):
    """What messages are made of.

    Attributes:
        messages: role, text and name of each.
        texts: the roles and texts, one after the other.
        media: what else is in them.
        has_blocks: some content is a list of blocks.
    """

    messages: list[tuple[str, str, str | None]]
    texts: list[str]
    media: list[Media]
    has_blocks: bool


class _Terms(NamedTuple):
    """What the parameters of a chat request say of its call, whatever its messages are.

    Attributes:
        model, provider: what is asked for.
        max_output_tokens, thinking_tokens, choices, tier, speaks: as in :class:`Call`.
        searches, result_tokens: what tools of the provider may do.
        hidden: tokens of the prompt that the provider adds; ``described`` is what it is told of tools and the form of
            the answer. Neither is worked out where no prompt is counted.
        sets_limit_last: OpenAI's ``extra_body``, which is written over the request, has a limit of its own.
        caches: the provider is asked to cache the prompt.
    """

    model: str
    provider: str | None
    max_output_tokens: int | None
    thinking_tokens: int
    choices: int
    tier: str | None
    speaks: bool
    searches: int
    result_tokens: int
    hidden: int
    described: str | None
    sets_limit_last: bool
    caches: bool


def _terms(ls: Mapping[str, Any], params: Mapping[str, Any], *, counts: bool) -> _Terms:
    """``counts``: the prompt is counted."""
    named = (ls.get("ls_model_name"), ls.get("ls_provider"), ls.get("ls_max_tokens"))
    kinds = (*map(type, params.values()), *map(type, named))
    if _PLAIN.issuperset(kinds):
        return _remembered_terms(named, tuple(params.items()), kinds, counts)
    return _worked_out(named, params, counts)


@lru_cache(_MOST_REMEMBERED)
def _remembered_terms(
    named: tuple[Any, Any, Any], params: tuple[tuple[str, Any], ...], kinds: tuple[type, ...], counts: bool
) -> _Terms:
    """``kinds`` tells ``n=True`` from ``n=1``, which are equal."""
    return _worked_out(named, dict(params), counts)


def _worked_out(named: tuple[Any, Any, Any], params: Mapping[str, Any], counts: bool) -> _Terms:
    sent_last: Mapping[str, Any] = params.get(_SENT_LAST) or {}
    if sent_last:
        params = {**params, **sent_last}
    ls = dict(zip(("ls_model_name", "ls_provider", "ls_max_tokens"), named, strict=True))
    model, provider, choices = model_name(ls, params), named[1], params.get("n")
    hosted = server_tools(model, provider, params) if counts else NO_TOOLS
    return _Terms(
        model=model,
        provider=provider,
        max_output_tokens=output_limit(params, ls),
        thinking_tokens=thinking_tokens(params),
        choices=choices if isinstance(choices, int) and choices > 0 else 1,
        tier=requested_tier(params),
        speaks="audio" in (params.get("modalities") or params.get("response_modalities") or ()),
        searches=hosted.searches,
        result_tokens=hosted.tokens,
        hidden=hidden_tokens(model, provider, params) if counts else 0,
        described=_described(params) if counts else None,
        sets_limit_last=bool(_limits(sent_last)),
        caches="cache_control" in params or _marks_cache(params.get("tools") or ()),
    )


def chat_call(
    guard: CostGuard,
    messages: Sequence[BaseMessage],
    *,
    ls: Mapping[str, Any],
    params: Mapping[str, Any],
    attribution: Attribution,
    cappable: bool = False,
    attempts: int = 1,
    profile: Mapping[str, Any] | None = None,
    route: str | None = None,
    baseline: Baseline | None = None,
    host: str | None = None,
) -> Call:
    """A chat request as a :class:`Call`. ``ls``: LangSmith's metadata of the model, ``params``: how it is invoked.

    The prompt is counted only if a budget needs it; with tools and images it is an upper bound.
    """
    terms, read = _terms(ls, params, counts=guard.counts_tokens), _read(messages)
    counted = _counted(guard, read, terms) if guard.counts_tokens else None
    model, provider, limit = terms.model, terms.provider, terms.max_output_tokens
    return Call(
        id=guard.new_id(),
        model=model,
        started=guard.clock(),
        provider=provider,
        attribution=attribution,
        host=host,
        input_tokens=counted.bound if counted else None,
        input_estimated=counted.estimated if counted else False,
        audio_tokens=audio_bound(read.media, model, provider) if counted and read.media else 0,
        speaks=terms.speaks,
        searches=terms.searches,
        result_tokens=terms.result_tokens,
        max_output_tokens=limit,
        output_ceiling=profile.get("max_output_tokens") if profile else None,
        thinking_tokens=terms.thinking_tokens,
        context_tokens=guard.prices.context_tokens(model, provider) if counted and limit is None else None,
        reasoning=bool(profile and profile.get("reasoning_output")),
        cache_writes=terms.caches or (read.has_blocks and _asks_to_cache(messages)),
        choices=terms.choices,
        attempts=attempts,
        tier=terms.tier,
        cappable=cappable and not terms.sets_limit_last,
        fingerprint=fingerprint(read.texts),
        route=route,
        baseline=baseline,
    )


def baseline_of(metadata: Mapping[str, Any]) -> Baseline | None:
    """What a router wrote into the metadata of a run by :func:`against`."""
    named = metadata.get(INSTEAD)
    if not isinstance(named, str):
        return None
    provider, _, model = named.partition("/")
    owed = metadata.get(OWED)
    return Baseline(model, provider or None, owed if isinstance(owed, int) else 0)


def against(baseline: Baseline) -> dict[str, Any]:
    """Metadata of a run: which model would have answered without a router."""
    model, provider, owed = baseline
    return {INSTEAD: f"{provider or ''}/{model}", **({OWED: owed} if owed else {})}


def hit_call(
    guard: CostGuard,
    messages: Sequence[BaseMessage],
    model: str,
    provider: str | None,
    attribution: Attribution,
    *,
    route: str | None = None,
    baseline: Baseline | None = None,
) -> Call:
    """A request that the cache has answered: only what the ledger says of it."""
    return Call(
        id=guard.new_id(),
        model=model,
        started=guard.clock(),
        provider=provider,
        attribution=attribution,
        fingerprint=fingerprint(_read(messages).texts),
        route=route,
        baseline=baseline,
    )


def text_call(
    guard: CostGuard, prompt: str, *, ls: Mapping[str, Any], params: Mapping[str, Any], attribution: Attribution
) -> Call:
    """A completion request (``BaseLLM``) as a :class:`Call`."""
    params, model, provider = _as_sent(params), model_name(ls, params), ls.get("ls_provider")
    counted = guard.tokens.count(prompt, model=model, provider=provider) if guard.counts_tokens else None
    return Call(
        id=guard.new_id(),
        model=model,
        started=guard.clock(),
        provider=provider,
        attribution=attribution,
        input_tokens=counted.bound if counted else None,
        input_estimated=counted.estimated if counted else False,
        max_output_tokens=output_limit(params, ls),
        choices=max(_positive(params.get("n")) or 1, _positive(params.get("best_of")) or 1),
        tier=requested_tier(params),
        kind="completion",
        fingerprint=fingerprint([prompt]),
    )


def prompt_tokens(
    guard: CostGuard, messages: Sequence[BaseMessage], ls: Mapping[str, Any], params: Mapping[str, Any]
) -> int:
    """The prompt counted, for an answer without usage."""
    return _counted(guard, _read(messages), _terms(ls, params, counts=True)).tokens


def prompt_letters(messages: Sequence[BaseMessage]) -> int:
    """How many characters of text a prompt has."""
    return sum(len(plain_text(message)) for message in messages)


def model_name(ls: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """The model that the request names, however the integration spells it."""
    for name in (ls.get("ls_model_name"), *map(params.get, _MODEL_NAMES)):
        if name and isinstance(name, str):
            return name
    return "(unknown)"


def output_limit(params: Mapping[str, Any], ls: Mapping[str, Any]) -> int | None:
    """The request's own cap on output tokens, or ``None`` if it has none (also for "as many as fit", written -1)."""
    # One limit may come from the model and another, spelled differently, from the call. Which one is sent depends on
    # the integration and on the endpoint, so the larger one is held.
    limits = _limits(params)
    limit = ls.get("ls_max_tokens")
    return max(limits) if limits else limit if isinstance(limit, int) and limit > 0 else None


def requested_tier(params: Mapping[str, Any]) -> str | None:
    """The service tier that is asked for, in OpenAI's and Anthropic's words, Anthropic's ``speed`` or Bedrock's."""
    nested = params.get("service_tier") or params.get("serviceTier")
    tier = nested.get("type") if isinstance(nested, Mapping) else nested
    return "fast" if params.get("speed") == "fast" else tier if isinstance(tier, str) else None


_THINKING = (("thinking", "budget_tokens"), ("thinking_config", "thinking_budget"), ("reasoning", "max_tokens"))


class OutputCap(NamedTuple):
    """How an integration takes a smaller limit on the tokens of an answer.

    Attributes:
        name: of the argument or the field.
        is_field: it has to be set on the model; as an argument of the call it is an error.
    """

    name: str
    is_field: bool = False


@lru_cache(maxsize=256)
def output_cap(model: type[BaseChatModel]) -> OutputCap | None:
    """How models of this class take a limit; ``None``: no way is known, so none is sent."""
    fields = model.model_fields
    if any(base.__name__ == "AzureChatOpenAI" for base in model.__mro__):
        # ChatOpenAI translates "max_tokens", and Azure's class, which is sent the same field under this name, does not.
        # Its reasoning models take no other: https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning
        return OutputCap("max_completion_tokens")
    if "max_tokens" in fields:  # ChatOpenAI has both spellings and translates this one for every endpoint
        return OutputCap("max_tokens")
    name = next((name for name in _OUTPUT_LIMITS if name in fields), None)
    return None if name is None else OutputCap(name, is_field=name == "num_predict")  # Ollama: one of its "options"


def capped(kwargs: Mapping[str, Any], params: Mapping[str, Any], cap: OutputCap, tokens: int) -> dict[str, Any]:
    """``kwargs`` with ``tokens`` as the only limit of the request, which is otherwise invoked with ``params``.

    Where the request has a limit already, its spelling is kept. A limit that is a field of the model is only added to
    the options of the call, if it has some: they replace the model's.
    """
    tokens = min([tokens, *_limits(params)])
    if cap.is_field:
        options = kwargs.get(_OPTIONS)
        return {**kwargs, _OPTIONS: {**options, cap.name: tokens}} if isinstance(options, Mapping) else dict(kwargs)
    name = next((spelled for spelled in _OUTPUT_LIMITS if _positive(params.get(spelled))), cap.name)
    others = {key: value for key, value in kwargs.items() if key not in _OUTPUT_LIMITS}
    return {**others, name: tokens}


def capped_model(model: BaseChatModel, params: Mapping[str, Any], cap: OutputCap | None, tokens: int) -> BaseChatModel:
    """The model to ask: a copy with the limit, where that is a field of it."""
    if cap is None or not cap.is_field:
        return model
    return model.model_copy(update={cap.name: min([tokens, *_limits(params)])})


def thinking_tokens(params: Mapping[str, Any]) -> int:
    """How many tokens of the answer a request lets the model think in, where it says so: a cap must be larger.

    Anthropic's ``thinking.budget_tokens``, the same inside Bedrock's additional fields, Gemini's ``thinking_budget``
    and OpenRouter's ``reasoning.max_tokens``.
    """
    inner = params.get("additional_model_request_fields")
    for source in (params, inner if isinstance(inner, Mapping) else {}):
        for name, key in _THINKING:
            given = source.get(name)
            if isinstance(given, Mapping) and (found := _positive(given.get(key))):
                return found
    return _positive(params.get("thinking_budget")) or 0


def _limits(params: Mapping[str, Any]) -> list[int]:
    options = params.get(_OPTIONS)
    given = [*map(params.get, _OUTPUT_LIMITS), options.get("num_predict") if isinstance(options, Mapping) else None]
    found = []
    for limit in given:
        if isinstance(limit, int) and limit > 0:
            found.append(limit)
    return found


def _as_sent(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what OpenAI's client writes over the request at the very end."""
    return {**params, **(params.get(_SENT_LAST) or {})}


def served_from_cache(response: LLMResult) -> Mapping[str, Any] | None:
    """The mark of a cache hit: Costguard's own, or LangChain's ``total_cost: 0`` for any other cache."""
    for row in response.generations:
        for generation in row:
            if not isinstance(generation, ChatGeneration):
                continue
            mark = generation.message.response_metadata.get(MARK)
            if isinstance(mark, Mapping) and "cache" in mark:
                return mark
            usage = getattr(generation.message, "usage_metadata", None) or {}
            if usage.get("total_cost") == 0:
                return {"cache": "exact"}
    return None


def saved_nanos(guard: CostGuard, call: Call, hit: Mapping[str, Any], usage: Usage | None) -> int | None:
    """What a hit saved: the price of the usage that it did not cause, else what the cache entry says."""
    if usage is not None:
        priced = guard.prices.cost(usage, model=call.model, provider=call.provider, at=call.started)
        if priced is not None:
            return priced
    said = hit.get("saved_usd")
    return int(Decimal(said) * NANOS_PER_DOLLAR) if said else None


def text_of(generations: Iterable[Generation]) -> str:
    """All the text of an answer, tool calls included: what to count when the provider reported nothing."""
    texts = []
    for generation in generations:
        texts.append(plain_text(generation.message) if isinstance(generation, ChatGeneration) else generation.text)
    return "".join(texts)


def plain_text(message: BaseMessage) -> str:
    """All the text of a message, tool calls included."""
    content = message.content
    # A missing attribute of a pydantic model costs more than all the rest.
    if type(content) is str and not message.__dict__.get("tool_calls"):
        return content
    return _read([message]).texts[1]


def _read(messages: Iterable[BaseMessage]) -> _Read:
    read: list[tuple[str, str, str | None]] = []
    texts: list[str] = []
    media: list[Media] = []
    has_blocks = False
    for message in messages:
        text = message.content
        if not isinstance(text, str):
            has_blocks = True
            text, pieces = read_content(text)
            media += pieces
        calls = message.__dict__.get("tool_calls") if isinstance(message, AIMessage) else None
        if calls:
            text += json.dumps([{"name": c["name"], "args": c["args"]} for c in calls], default=str)
        read.append((message.type, text, message.name))
        texts += (message.type, text)
    return _Read(read, texts, media, has_blocks)


def _counted(guard: CostGuard, read: _Read, terms: _Terms) -> Count:
    return guard.tokens.count_chat(
        read.messages,
        model=terms.model,
        provider=terms.provider,
        tools_json=terms.described,
        media=read.media,
        hidden=terms.hidden,
    )


def _described(params: Mapping[str, Any]) -> str | None:
    described = [described for described in map(params.get, _DESCRIBING) if described]
    return json.dumps(described, default=_schema) if described else None


def _asks_to_cache(messages: Iterable[BaseMessage]) -> bool:
    """Anthropic's and Bedrock's cache breakpoints: writing a prompt to their cache costs up to twice its price."""
    return any(isinstance(message.content, list) and _marks_cache(message.content) for message in messages)


def _marks_cache(declared: Iterable[Any]) -> bool:
    return any(isinstance(part, Mapping) and ("cache_control" in part or "cachePoint" in part) for part in declared)


def _schema(value: Any) -> Any:
    schema = getattr(value, "model_json_schema", None)
    return schema() if callable(schema) else str(value)


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
