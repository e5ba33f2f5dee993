"""LlamaIndex's words for the settings of a call, translated into the core's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache as remembered
from inspect import unwrap
from types import CodeType
from typing import Any

from llama_index.core.llms import LLM

# How integrations call the cap on output tokens.
_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict", "max_new_tokens")
# Integrations that read their settings for every request do it here; others have read them once, when they were made.
_READS_SETTINGS = ("_get_model_kwargs", "_model_kwargs")
_NO_REASONING = (None, "none", "minimal")


def output_limit(fields: Mapping[str, Any], kwargs: Mapping[str, Any]) -> int | None:
    """The request's own cap on output tokens: the larger one where model and call both have one, ``None`` if neither has."""
    given = [_positive(source.get(name)) for source in (kwargs, _extra(fields), fields) for name in _OUTPUT_LIMITS]
    return max((limit for limit in given if limit is not None), default=None)


def limit_field(llm: LLM, kwargs: Mapping[str, Any]) -> str | None:
    """The setting of the model through which a smaller cap reaches the provider; ``None`` if there is none for this call."""
    if any(name in source for source in (kwargs, _extra(llm.__dict__)) for name in _OUTPUT_LIMITS):
        return None
    kind = type(llm)
    if not any(hasattr(kind, name) for name in _READS_SETTINGS):
        return None
    return next((name for name in _OUTPUT_LIMITS if name in kind.model_fields), None)


def reasons(llm: LLM) -> bool:
    """Whether the model was told to think in tokens that are not shown."""
    return llm.__dict__.get("reasoning_effort") not in _NO_REASONING or bool(llm.__dict__.get("thinking_dict"))


def choices(llm: LLM, kwargs: Mapping[str, Any]) -> int:
    """How many answers are asked for."""
    return _positive(kwargs.get("n")) or _positive(_extra(llm.__dict__).get("n")) or 1


def service_tier(llm: LLM, kwargs: Mapping[str, Any]) -> str | None:
    """The tier that is asked for."""
    found = kwargs.get("service_tier") or _extra(llm.__dict__).get("service_tier")
    return found if isinstance(found, str) else None


def usage_wish(llm: LLM, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What to add to a stream of OpenAI's integration, or one built on it, so that it reports its usage."""
    if "stream_options" in kwargs or "stream_options" in _extra(llm.__dict__):
        return {}
    is_openai = any(
        base.__name__ == "OpenAI" and base.__module__.startswith("llama_index.llms.openai")
        for base in type(llm).__mro__
    )
    return {"stream_options": {"include_usage": True}} if is_openai else {}


@remembered
def reaches_client(kind: type[LLM], method: str) -> bool:
    """Whether an integration's method calls its provider itself, not through the methods that chat and complete."""
    return any("client" in name for name in _names(unwrap(getattr(kind, method)).__code__))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _extra(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    found = fields.get("additional_kwargs")
    return found if isinstance(found, Mapping) else {}


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
