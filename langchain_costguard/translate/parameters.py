"""LangChain's words for a call, translated into the core's: messages, parameters and results in, values out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from costguard_core import Attribution, Call, CostGuard, Usage
from costguard_core.types import NANOS_PER_DOLLAR, Baseline, fingerprint
from costguard_core.usage.token_counter import Count

MARK = "costguard"
ROUTE = "costguard_route"  # in a run's metadata: the router's decision in one line
INSTEAD, OWED = "costguard_route_instead", "costguard_route_owed"  # what that saves is counted against

_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict", "max_new_tokens")
_SENT_LAST = "extra_body"
_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name")


class _Part(NamedTuple):
    """What of a message is counted: its images are only numbered."""

    role: str
    text: str
    images: int
    name: str | None


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
) -> Call:
    """A chat request as a :class:`Call`. ``ls``: LangSmith's metadata of the model, ``params``: how it is invoked.

    The prompt is counted only if a budget needs it; with tools and images it is an upper bound.
    """
    params, model, provider = _as_sent(params), model_name(ls, params), ls.get("ls_provider")
    counted = _counted(guard, messages, params, model, provider) if guard.counts_tokens else None
    return Call(
        id=guard.new_id(),
        model=model,
        started=guard.clock(),
        provider=provider,
        attribution=attribution,
        input_tokens=counted.bound if counted else None,
        input_estimated=counted.estimated if counted else False,
        max_output_tokens=output_limit(params, ls),
        output_ceiling=(profile or {}).get("max_output_tokens"),
        reasoning=bool((profile or {}).get("reasoning_output")),
        cache_writes=_asks_to_cache(messages, params),
        choices=_positive(params.get("n")) or 1,
        attempts=attempts,
        tier=requested_tier(params),
        cappable=cappable and not _limits(params.get(_SENT_LAST) or {}),
        fingerprint=_fingerprint(messages),
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
    made = Call(guard.new_id(), model, guard.clock(), provider, attribution, route=route, baseline=baseline)
    return replace(made, fingerprint=_fingerprint(messages))


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
    params = _as_sent(params)
    return _counted(guard, messages, params, model_name(ls, params), ls.get("ls_provider")).tokens


def prompt_letters(messages: Sequence[BaseMessage]) -> int:
    """How many characters of text a prompt has."""
    return sum(len(plain_text(message)) for message in messages)


def model_name(ls: Mapping[str, Any], params: Mapping[str, Any]) -> str:
    """The model that the request names, however the integration spells it."""
    candidates = (ls.get("ls_model_name"), *(params.get(name) for name in _MODEL_NAMES))
    return next((name for name in candidates if isinstance(name, str) and name), "(unknown)")


def output_limit(params: Mapping[str, Any], ls: Mapping[str, Any]) -> int | None:
    """The request's own cap on output tokens, or ``None`` if it has none (also for "as many as fit", written -1)."""
    # One limit may come from the model and another, spelled differently, from the call. Which one is sent depends on
    # the integration and on the endpoint, so the larger one is held.
    return max(_limits(params), default=_positive(ls.get("ls_max_tokens")))


def requested_tier(params: Mapping[str, Any]) -> str | None:
    """The service tier that is asked for, in OpenAI's and Anthropic's words, Anthropic's ``speed`` or Bedrock's."""
    nested = params.get("service_tier") or params.get("serviceTier")
    tier = nested.get("type") if isinstance(nested, Mapping) else nested
    return "fast" if params.get("speed") == "fast" else tier if isinstance(tier, str) else None


def limit_parameter(fields: Iterable[str]) -> str | None:
    """The name under which a model with these fields takes a cap on output tokens, if it takes one."""
    known = set(fields)
    if "max_tokens" in known:  # ChatOpenAI has both spellings and translates this one for every endpoint
        return "max_tokens"
    return next((name for name in _OUTPUT_LIMITS if name in known), None)


def capped(kwargs: Mapping[str, Any], params: Mapping[str, Any], name: str, cap: int) -> dict[str, Any]:
    """``kwargs`` with ``cap`` as the only limit of the request, which is otherwise invoked with ``params``.

    ``name`` is how the model's own field is spelled; where the request has a limit already, its spelling is replaced.
    """
    name = next((spelled for spelled in _OUTPUT_LIMITS if _positive(params.get(spelled))), name)
    others = {key: value for key, value in kwargs.items() if key not in _OUTPUT_LIMITS}
    return {**others, name: min([cap, *_limits(params)])}


def _limits(params: Mapping[str, Any]) -> list[int]:
    return [found for name in _OUTPUT_LIMITS if (found := _positive(params.get(name))) is not None]


def _as_sent(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what OpenAI's client writes over the request at the very end."""
    return {**params, **(params.get(_SENT_LAST) or {})}


def served_from_cache(response: LLMResult) -> Mapping[str, Any] | None:
    """The mark of a cache hit: Costguard's own, or LangChain's ``total_cost: 0`` for any other cache."""
    for generation in (g for row in response.generations for g in row):
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
    return "".join(_answer_text(generation) for generation in generations)


def _answer_text(generation: Generation) -> str:
    if isinstance(generation, ChatGeneration):
        return "".join(part.text for part in _parts([generation.message]))
    return generation.text


def _fingerprint(messages: Iterable[BaseMessage]) -> str:
    return fingerprint([piece for message in messages for piece in (message.type, plain_text(message))])


def plain_text(message: BaseMessage) -> str:
    """All the text of a message, tool calls included."""
    content = message.content
    # A missing attribute of a pydantic model costs more than all the rest of a fingerprint.
    if type(content) is str and not message.__dict__.get("tool_calls"):
        return content
    return next(_parts([message])).text


def _parts(messages: Iterable[BaseMessage]) -> Iterator[_Part]:
    for message in messages:
        text, images = _content(message.content)
        calls = getattr(message, "tool_calls", None) if isinstance(message, AIMessage) else None
        if calls:
            text += json.dumps([{"name": c["name"], "args": c["args"]} for c in calls], default=str)
        yield _Part(message.type, text, images, message.name)


def _content(content: str | list[Any]) -> tuple[str, int]:
    if isinstance(content, str):
        return content, 0
    texts, images = [], 0
    for block in content:
        if isinstance(block, str):
            texts.append(block)
        elif "text" in block:
            texts.append(str(block["text"]))
        elif "image" in str(block.get("type", "")):
            images += 1
        else:
            texts.append(json.dumps(block, default=str))
    return "".join(texts), images


def _counted(
    guard: CostGuard, messages: Sequence[BaseMessage], params: Mapping[str, Any], model: str, provider: str | None
) -> Count:
    parts = list(_parts(messages))
    return guard.tokens.count_chat(
        [(part.role, part.text, part.name) for part in parts],
        model=model,
        provider=provider,
        tools_json=_tools_json(params),
        images=sum(part.images for part in parts),
    )


def _asks_to_cache(messages: Iterable[BaseMessage], params: Mapping[str, Any]) -> bool:
    """Anthropic's and Bedrock's cache breakpoints: writing a prompt to their cache costs up to twice its price."""
    blocks = [block for message in messages if isinstance(message.content, list) for block in message.content]
    declared = [*blocks, *(params.get("tools") or ())]
    return "cache_control" in params or any(
        isinstance(part, Mapping) and ("cache_control" in part or "cachePoint" in part) for part in declared
    )


def _tools_json(params: Mapping[str, Any]) -> str | None:
    described = [params[name] for name in ("tools", "functions", "response_format") if params.get(name)]
    return json.dumps(described, default=_schema) if described else None


def _schema(value: Any) -> Any:
    schema = getattr(value, "model_json_schema", None)
    return schema() if callable(schema) else str(value)


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
