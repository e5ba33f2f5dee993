"""LlamaIndex's words for the settings of a call, translated into the core's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache as remembered
from typing import Any

from llama_index.core.llms import LLM

from costguard_core.cache import NotCanonical, Uncacheable
from costguard_core.cache.parameters import caller_of
from costguard_core.cache.provider_tools import hosted_tools, is_live_model, is_made_live
from costguard_core.lifecycle.model_settings import ModelSettings
from costguard_core.lifecycle.same_class import names_in
from costguard_core.usage.overhead import thinks_unasked
from costguard_core.usage.parameters import (
    OUTPUT_LIMITS,
    as_sent,
    caches_prompt,
    output_limit,
    positive,
    speaks,
    thinking_tokens,
)
from costguard_core.usage.server_tools import server_tools
from costguard_core.util.urls import host_in
from llamaindex_costguard.translate.keys import fields_of, identity_of, model_name, provider_of, settings_of

# Integrations that read their settings for every request do it here; others have read them once, when they were made.
_READS_SETTINGS = ("_get_model_kwargs", "_model_kwargs")
# Integrations that pass on a cap in one of their settings' entries only, whatever fields they have beside it.
_LIMITS_INSIDE = {
    "ollama": "additional_kwargs.num_predict",
    "cohere": "additional_kwargs.max_tokens",
    "google_genai": "_generation_config.max_output_tokens",
}
_LIKE_OPENAI = ("OpenAI", "LiteLLM")
_NO_REASONING = (None, "none", "minimal")


def model_settings(llm: LLM, inner: type[LLM]) -> ModelSettings:
    """Read them off the settings as they are now; ``inner`` is the integration's class."""
    fields = llm.__dict__
    everything = fields_of(llm)
    passed_on = as_sent(extra) if isinstance(extra := fields.get("additional_kwargs"), Mapping) else {}
    given: dict[str, Any] = {**fields, **passed_on}
    temperature, tier = given.get("temperature"), given.get("service_tier")
    model, provider = model_name(llm), provider_of(inner)
    limit_field = _LIMITS_INSIDE.get(provider or "") or _limit_field(inner)
    if limit_field is not None and "." in limit_field:
        inside = _setting(llm, limit_field.partition(".")[0])
        limits, thinking = [output_limit(inside)], inside.get("thinking_config") or {}
    else:
        limits, thinking = [output_limit(fields), output_limit(given)], fields.get("thinking_dict")
        thinking = thinking or given.get("thinking")
        limit_field = None if output_limit(passed_on) else limit_field
    hosted = {"tools": list(hosted_tools(fields))}
    return ModelSettings(
        model=model,
        provider=provider,
        identity=_identity(llm, inner),
        temperature=float(temperature) if isinstance(temperature, (int, float)) else None,
        choices=positive(given.get("n")) or 1,
        tier=tier if isinstance(tier, str) else None,
        limit=max(filter(None, limits), default=None),
        limit_field=limit_field,
        thinks=fields.get("reasoning_effort") not in _NO_REASONING or bool(thinking) or thinks_unasked(model),
        thinking_tokens=thinking_tokens({**given, "thinking": thinking, "thinking_config": thinking}),
        hosted=hosted,
        server_tools=server_tools(model, provider, hosted),
        live=is_live_model(model) or is_made_live(settings_of(llm)),
        silent_streams=_asks_like_openai(inner) and "stream_options" not in given,
        reports_usage=_asks_like_openai(inner),
        states_own_cost=_asks_like_openai(inner, "LiteLLM"),
        host=host_in(everything),
        caller=caller_of(everything),
        speaks=speaks(given),
        caches=caches_prompt(given) or _is_told_to_cache(fields),
    )


@remembered
def reaches_client(kind: type[LLM], method: str) -> bool:
    """Whether an integration's method calls its provider itself, not through the methods that chat and complete."""
    return any("client" in name for name in names_in(getattr(kind, method)))


def _is_told_to_cache(fields: Mapping[str, object]) -> bool:
    """Whether Anthropic's integration (by the index of a message) or Bedrock's marks parts of prompts for the cache."""
    switched_on = fields.get("system_prompt_caching") or fields.get("tool_caching")
    return bool(switched_on) or fields.get("cache_idx") is not None


def _identity(llm: LLM, inner: type[LLM]) -> str | Uncacheable:
    try:
        return identity_of(llm, inner, callers=False)
    except NotCanonical as error:
        return Uncacheable(str(error))


def _setting(llm: LLM, name: str) -> Mapping[str, Any]:
    """A setting that is a mapping, also one that the integration keeps to itself."""
    found = ((llm.__pydantic_private__ or {}) if name.startswith("_") else llm.__dict__).get(name)
    return found if isinstance(found, Mapping) else {}


def _limit_field(kind: type[LLM]) -> str | None:
    if not any(hasattr(kind, name) for name in _READS_SETTINGS):
        return None
    return next((name for name in ("max_tokens", *OUTPUT_LIMITS) if name in kind.model_fields), None)


def _asks_like_openai(kind: type[LLM], *names: str) -> bool:
    """OpenAI's integration, those built on it, and LiteLLM's: they know ``stream_options``, and pass usage on."""
    for base in kind.__mro__:
        if base.__name__ in (names or _LIKE_OPENAI):
            return base.__module__.startswith(f"llama_index.llms.{base.__name__.lower()}")
    return False
