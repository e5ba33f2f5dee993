"""What the parameters of a request say, in the names of providers: limits, tiers, tools, and the form of the answer.

They are looked at before the call, for what it may cost; nothing here knows a framework.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from costguard_core.usage.fields import fast_of
from costguard_core.usage.overhead import described_json, hidden_tokens
from costguard_core.usage.server_tools import NO_TOOLS, ServerTools, server_tools

OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict", "max_new_tokens")
"""How providers and integrations call the cap on output tokens."""
_SENT_LAST = "extra_body"
_PASSED_ON = "model_kwargs"
_LATENCIES = frozenset(("performance_config", "performanceConfig"))  # Bedrock's
_OPTIONS = "options"  # Ollama's
# Settings in which a request may have its limit, and its names there. Those of the model are not sent beside Ollama's
# and Bedrock's, and Gemini's is written over them if it has a limit.
_HOLDING_LIMITS: Mapping[str, tuple[str, ...]] = {
    _OPTIONS: ("num_predict",),
    "inferenceConfig": ("maxTokens",),
    "generation_config": ("max_output_tokens", "maxOutputTokens"),
}
_REPLACING = frozenset((_OPTIONS, "inferenceConfig"))
_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name")
_THINKING = (
    ("thinking", "budget_tokens"),
    ("thinking_config", "thinking_budget"),
    ("thinkingConfig", "thinkingBudget"),
    ("reasoning", "max_tokens"),
)
# Where options of a request may stand that its integration passes on as they are.
_HOLDING_THINKING = ("additional_model_request_fields", "generation_config")
# What leaves it to the model whether it calls a tool; and how integrations ask for an object.
_CHOICES_OF_THE_MODEL = (None, "auto", "none")
_FORMS = ("response_format", "response_schema", "format", "guided_json", "output_format")
# What holds a form among other things: OpenAI's Responses (`text.format`), Anthropic's `output_config.format`.
_HOLDING_FORMS = ("text", "output_config")
# Values that can neither be changed nor be equal to something else of their type: parameters of nothing else are worked
# out once.
_PLAIN = frozenset((str, int, float, bool, type(None)))
_MOST_REMEMBERED = 512  # sets of parameters; a choice


class Known(NamedTuple):
    """What a framework says of a model beside the parameters of a request; each may be anything, or ``None``.

    Attributes:
        model: its name.
        provider: who runs it.
        limit: how many tokens it may answer.
    """

    model: Any = None
    provider: Any = None
    limit: Any = None


UNKNOWN = Known()


class Terms(NamedTuple):
    """What the parameters of a chat request say of its call, whatever its messages are.

    Attributes:
        model, provider: what is asked for.
        max_output_tokens, thinking_tokens, choices, tier, speaks: as in :class:`costguard_core.types.Call`.
        hosted: what tools of the provider may do.
        hidden: tokens of the prompt that the provider adds; ``described`` is what it is told of tools and the form of
            the answer. Neither is worked out where no prompt is counted.
        sets_limit_last: OpenAI's ``extra_body``, which is written over the request, has a limit of its own.
        caches: the provider is asked to cache the prompt.
        caches_for_hour: it is asked to keep a part of it for an hour.
    """

    model: str
    provider: str | None
    max_output_tokens: int | None
    thinking_tokens: int
    choices: int
    tier: str | None
    speaks: bool
    hosted: ServerTools
    hidden: int
    described: str | None
    sets_limit_last: bool
    caches: bool
    caches_for_hour: bool = False


def terms_of(known: Known, params: Mapping[str, object], *, counts: bool) -> Terms:
    """``counts``: the prompt is counted."""
    kinds = (*map(type, params.values()), *map(type, known))
    if _PLAIN.issuperset(kinds):
        return _remembered(known, tuple(params.items()), kinds, counts=counts)
    return _worked_out(known, params, counts=counts)


@lru_cache(_MOST_REMEMBERED)
def _remembered(
    known: Known, params: tuple[tuple[str, object], ...], kinds: tuple[type, ...], *, counts: bool
) -> Terms:
    """``kinds`` tells ``n=True`` from ``n=1``, which are equal."""
    return _worked_out(known, dict(params), counts=counts)


def _worked_out(known: Known, params: Mapping[str, Any], *, counts: bool) -> Terms:
    sent_last: Mapping[str, Any] = params.get(_SENT_LAST) or {}
    if sent_last:
        params = as_sent(params)
    model, provider = model_name(known, params), known.provider
    hosted = server_tools(model, provider, params) if counts else NO_TOOLS
    return Terms(
        model=model,
        provider=provider,
        max_output_tokens=output_limit(params, known),
        thinking_tokens=thinking_tokens(params),
        choices=positive(params.get("n")) or 1,
        tier=requested_tier(params),
        speaks=speaks(params),
        hosted=hosted,
        hidden=hidden_tokens(model, provider, params) if counts else 0,
        described=described_json(params, provider, model=model) if counts else None,
        sets_limit_last=bool(output_limits(sent_last)),
        caches=caches_prompt(params),
        caches_for_hour=marks_hour((params, *(params.get("tools") or ()))),
    )


def as_sent(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what OpenAI's client writes over the request at the very end."""
    return {**params, **(params.get(_SENT_LAST) or {})}


def with_settings(params: Mapping[str, object], fields: Mapping[str, object]) -> Mapping[str, Any]:
    """The parameters of a request, and what the settings of its model say that the integration does not tell.

    Args:
        params: how the integration says that the model is invoked; Groq's and OpenRouter's leave settings out.
        fields: of the model, by name.
    """
    given = fields.get(_PASSED_ON)
    told = {**given, **params} if isinstance(given, Mapping) else params
    if output_limits(told):
        return told
    return {**told, **{name: value for name in OUTPUT_LIMITS if (value := fields.get(name)) is not None}}


def model_name(known: Known, params: Mapping[str, object]) -> str:
    """The model that the request names, however the integration spells it."""
    for name in (known.model, *map(params.get, _MODEL_NAMES)):
        if name and isinstance(name, str):
            return name
    return "(unknown)"


def output_limits(params: Mapping[str, object]) -> list[int]:
    """The request's own caps on output tokens, one for each name that is given."""
    given = list(map(params.get, OUTPUT_LIMITS))
    for holder, names in _HOLDING_LIMITS.items():
        inner = params.get(holder)
        if isinstance(inner, Mapping) and (holder in _REPLACING or not inner.keys().isdisjoint(names)):
            given = list(map(inner.get, names))
    found = []
    for limit in given:
        if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0:
            found.append(limit)
    return found


def output_limit(params: Mapping[str, object], known: Known = UNKNOWN) -> int | None:
    """The request's own cap on output tokens, or ``None`` if it has none (also for "as many as fit", written -1)."""
    # One limit may come from the model and another, spelled differently, from the call. Which one is sent depends on
    # the integration and on the endpoint, so the larger one is held.
    limits = output_limits(params)
    if limits:
        return max(limits)
    # What a framework says of the model is not sent where the request replaces its settings.
    return None if any(isinstance(params.get(name), Mapping) for name in _REPLACING) else positive(known.limit)


def requested_tier(params: Mapping[str, object]) -> str | None:
    """The service tier that is asked for, in OpenAI's and Anthropic's words, Anthropic's ``speed`` or Bedrock's."""
    nested = params.get("service_tier") or params.get("serviceTier")
    tier = nested.get("type") if isinstance(nested, Mapping) else nested
    fast = params.get("speed") == "fast" or (not _LATENCIES.isdisjoint(params) and fast_of(params))
    return "fast" if fast else tier if isinstance(tier, str) else None


def speaks(params: Mapping[str, object]) -> bool:
    """Whether an answer is asked for as sound, in OpenAI's word (``"audio"``) or Gemini's (``"AUDIO"``, or an enum)."""
    given = params.get("modalities") or params.get("response_modalities") or ()
    wanted = given if isinstance(given, (list, tuple)) else [given]
    return any(str(getattr(one, "name", one)).lower() == "audio" for one in wanted)


def thinking_tokens(params: Mapping[str, object]) -> int:
    """How many tokens of the answer a request lets the model think in, where it says so: a cap must be larger.

    Anthropic's ``thinking.budget_tokens``, the same inside Bedrock's additional fields, Gemini's ``thinking_budget``
    and OpenRouter's ``reasoning.max_tokens``.
    """
    inner = [found for name in _HOLDING_THINKING if isinstance(found := params.get(name), Mapping)]
    for source in (params, *inner):
        for name, key in _THINKING:
            given = source.get(name)
            if isinstance(given, Mapping) and (found := positive(given.get(key))):
                return found
    return positive(params.get("thinking_budget")) or 0


def wants_form(params: Mapping[str, object]) -> bool:
    """Whether the answer has to be a tool call or an object, which text is not."""
    choice = params.get("tool_choice")
    named = choice.get("type") if isinstance(choice, Mapping) else choice
    if named not in _CHOICES_OF_THE_MODEL:
        return True
    held = (
        given["format"]
        for name in _HOLDING_FORMS
        if isinstance(given := params.get(name), Mapping) and "format" in given
    )
    return any(map(_is_form, (*map(params.get, _FORMS), *held)))


def _is_form(given: object) -> bool:
    """OpenAI's ``{"type": "text"}`` asks for none."""
    return bool(given) and not (isinstance(given, Mapping) and given.get("type") == "text")


def caches_prompt(params: Mapping[str, Any]) -> bool:
    """Whether parameters of a request ask the provider to cache its prompt, or the tools in it."""
    return "cache_control" in params or marks_cache(params.get("tools") or ())


def marks_cache(declared: Iterable[object]) -> bool:
    """Anthropic's and Bedrock's cache breakpoints: writing a prompt to their cache costs up to twice its price."""
    return any(isinstance(part, Mapping) and ("cache_control" in part or "cachePoint" in part) for part in declared)


def marks_hour(declared: Iterable[object]) -> bool:
    """Whether one of these breakpoints asks for an hour, which costs 1.6 times the five minutes that are the default.

    https://platform.claude.com/docs/en/build-with-claude/prompt-caching#1-hour-cache-duration
    """
    marks = (
        part.get(name) for part in declared if isinstance(part, Mapping) for name in ("cache_control", "cachePoint")
    )
    return any(isinstance(mark, Mapping) and mark.get("ttl") == "1h" for mark in marks)


class OutputCap(NamedTuple):
    """How an integration takes a smaller limit on the tokens of an answer.

    Attributes:
        name: of the argument or the field.
        is_field: it has to be set on the model; as an argument of the call it is an error.
    """

    name: str
    is_field: bool = False


def capped(
    kwargs: Mapping[str, object], params: Mapping[str, object], cap: OutputCap, tokens: int
) -> dict[str, object]:
    """``kwargs`` with ``tokens`` as the only limit of the request, which is otherwise invoked with ``params``.

    Where the request has a limit already, its spelling is kept, and its place: settings that hold one, or that replace
    those of the model. A limit that is a field of the model is sent by nothing else.
    """
    tokens = min([tokens, *output_limits(params)])
    for holder, names in _HOLDING_LIMITS.items():
        inner = kwargs.get(holder)
        if isinstance(inner, Mapping) and (holder in _REPLACING or not inner.keys().isdisjoint(names)):
            name = next((name for name in names if name in inner), names[0])
            return {**kwargs, holder: {**inner, name: tokens}}
    if cap.is_field:
        return dict(kwargs)
    name = next((spelled for spelled in OUTPUT_LIMITS if positive(params.get(spelled))), cap.name)
    others = {key: value for key, value in kwargs.items() if key not in OUTPUT_LIMITS}
    return {**others, name: tokens}


def positive(value: object) -> int | None:
    """``value`` if it is a whole number above zero."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
