"""A LlamaIndex request → its key. Whatever cannot be written exactly makes the request uncacheable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core import Attribution
from costguard_core.caching import CacheKey, CachePolicy, NotCanonical, Request, Uncacheable, request_digest
from llamaindex_costguard.identity import Identity, is_secret

# Transport and delivery: the answer is the same.
_IRRELEVANT = frozenset(("timeout", "max_retries", "stream", "stream_options", "extra_headers", "http_client"))
_TOOLS = ("tools", "functions")
_SCHEMA = "response_format"
# Tools and options of providers that read the world at the time of the call.
_LIVE = (
    "web_",
    "file_search",
    "mcp",
    "google_",
    "url_context",
    "code_",
    "x_search",
    "computer_use",
    "search_parameters",
)


def request_key(
    policy: CachePolicy,
    *,
    identity: Identity,
    model: str,
    rows: Iterable[Any],
    kwargs: Mapping[str, Any],
    question: str,
    attribution: Attribution,
) -> CacheKey | Uncacheable:
    """The key of one request under a policy, or why it has none.

    ``question`` is what the user asks, without the retrieved context that ``rows`` hold as well.
    """
    try:
        request = _request(identity, model, list(rows), kwargs, question, attribution)
    except NotCanonical as error:
        return Uncacheable(str(error))
    return policy.key(request)


def _request(
    identity: Identity,
    model: str,
    rows: list[Any],
    kwargs: Mapping[str, Any],
    question: str,
    attribution: Attribution,
) -> Request:
    call = {name: value for name, value in kwargs.items() if name not in _IRRELEVANT and not is_secret(name)}
    declared = [_tool(tool) for name in _TOOLS for tool in call.pop(name, None) or ()]
    schema = call.pop(_SCHEMA, None)
    digest = request_digest(
        model=["llamaindex", identity.text],
        parameters=call,
        messages=rows,
        tools=declared,
        schema=schema,
        describe=_describe,
    )
    choices, temperature = call.get("n"), call.get("temperature")
    return Request(
        digest=digest,
        model=call["model"] if isinstance(call.get("model"), str) else model,
        question=question,
        temperature=float(temperature) if isinstance(temperature, (int, float)) else identity.temperature,
        choices=choices if isinstance(choices, int) and choices > 0 else identity.choices or 1,
        live_tools=any(_is_live(tool) for tool in declared) or any(name.startswith(_LIVE) for name in call),
        attribution=attribution,
    ).classified()


def _tool(tool: Any) -> Any:
    if isinstance(tool, Mapping) and (tool.get("authorization_token") or tool.get("authorization")):
        raise NotCanonical("a tool that signs in as somebody")
    return tool


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


def _is_live(tool: Any) -> bool:
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    return kind.startswith(_LIVE) if isinstance(kind, str) else any(str(name).startswith(_LIVE) for name in tool)
