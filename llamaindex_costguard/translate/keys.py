"""A LlamaIndex request → its key. Whatever cannot be written exactly makes the request uncacheable."""

from __future__ import annotations

from typing import Any

from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Uncacheable, request_digest
from costguard_core.cache.arguments import NO_ARGUMENTS, Arguments, cache_request
from costguard_core.cache.parameters import answering, caller_of
from costguard_core.cache.secrets import is_secret
from llamaindex_costguard.translate.content import RequestContent

# Transport and delivery: the answer is the same.
_IRRELEVANT = frozenset(("timeout", "max_retries", "stream", "stream_options", "http_client"))


def request_key(policy: CachePolicy, request: RequestContent, rows: list[Any] | None = None) -> CacheKey | Uncacheable:
    """The key of one request under a policy, or why it has none; with other ``rows`` than those of its messages.

    Raises:
        NotCanonical: a part of the request has no exact written form.
    """
    if rows is None:
        rows = request.rows
    settings = request.settings
    if isinstance(settings.identity, Uncacheable):
        return settings.identity
    arguments, caller = NO_ARGUMENTS, settings.caller
    if request.kwargs:
        caller += caller_of(request.kwargs)
        call = {name: value for name, value in answering(request.kwargs, callers=False).items() if _counts(name)}
        arguments = Arguments.of(call)
    digest = request_digest(
        model=settings.identity,
        parameters=arguments.rest,
        messages=rows,
        tools=arguments.tools,
        schema=arguments.schema,
        describe=_describe,
    )
    known = None if request.retrieved is None else request.retrieved.question
    return policy.key(
        cache_request(
            digest,
            arguments,
            request.prompt.question if known is None else known,
            request.attribution,
            model=settings.model,
            settings={"temperature": settings.temperature, "n": settings.choices},
            live=settings.live,
            caller=caller,
        )
    )


def _counts(name: str) -> bool:
    return name not in _IRRELEVANT and not is_secret(name)


def _describe(value: object) -> Any:
    """A tool by what the provider is told of it, a class by its schema, a value object by its fields."""
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return {"name": metadata.name, "description": metadata.description, "schema": metadata.get_parameters_dict()}
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"class": value.__qualname__, "schema": value.model_json_schema()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotCanonical(f"a value of type {type(value).__name__}")
