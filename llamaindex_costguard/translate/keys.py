"""A LlamaIndex request → its key. Whatever cannot be written exactly makes the request uncacheable."""

from __future__ import annotations

from typing import Any

from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core.cache import (
    CacheKey,
    CachePolicy,
    NotCanonical,
    Request,
    Uncacheable,
    classify,
    request_digest,
)
from costguard_core.cache.parameters import answering
from costguard_core.cache.provider_tools import has_live_option, is_live_tool
from costguard_core.cache.secrets import is_secret, signs_in
from llamaindex_costguard.translate.content import RequestContent
from llamaindex_costguard.translate.parameters import choices

# Transport and delivery: the answer is the same.
_IRRELEVANT = frozenset(("timeout", "max_retries", "stream", "stream_options", "http_client"))
_TOOLS = ("tools", "functions")
_SCHEMA = "response_format"


def request_key(policy: CachePolicy, request: RequestContent, rows: list[Any] | None = None) -> CacheKey | Uncacheable:
    """The key of one request under a policy, or why it has none; with other ``rows`` than those of its messages.

    Raises:
        NotCanonical: a part of the request has no exact written form.
    """
    if rows is None:
        rows = request.rows
    facts = request.facts
    if isinstance(facts.identity, Uncacheable):
        return facts.identity
    call: dict[str, Any] = {}
    declared: list[Any] = []
    schema = None
    if request.kwargs:
        call = {name: value for name, value in answering(request.kwargs).items() if _counts(name)}
        for name in _TOOLS:
            declared += call.pop(name, None) or ()
        if any(map(signs_in, declared)):
            raise NotCanonical("a tool that signs in as somebody")
        schema = call.pop(_SCHEMA, None)
    digest = request_digest(
        model=facts.identity, parameters=call, messages=rows, tools=declared, schema=schema, describe=_describe
    )
    temperature = call.get("temperature")
    retrieved = request.retrieved
    known = None if retrieved is None else retrieved.question
    question = request.prompt.question if known is None else known
    kinds = classify(question)
    return policy.key(
        Request(
            digest=digest,
            model=call["model"] if isinstance(call.get("model"), str) else facts.model,
            question=question,
            dynamic=kinds.dynamic,
            personal=kinds.personal,
            unread=kinds.unread,
            temperature=float(temperature) if isinstance(temperature, (int, float)) else facts.temperature,
            choices=choices(facts, call) if call else facts.choices,
            live_tools=facts.live or any(map(is_live_tool, declared)) or (bool(call) and has_live_option(call)),
            attribution=request.attribution,
        )
    )


def _counts(name: str) -> bool:
    return name not in _IRRELEVANT and not is_secret(name)


def _describe(value: Any) -> Any:
    """A tool by what the provider is told of it, a class by its schema, a value object by its fields."""
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return {"name": metadata.name, "description": metadata.description, "schema": metadata.get_parameters_dict()}
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"class": value.__qualname__, "schema": value.model_json_schema()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotCanonical(f"a value of type {type(value).__name__}")
