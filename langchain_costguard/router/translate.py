"""LangChain's messages and models translated for the router: requests, tiers, and what an answer means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.outputs import ChatGeneration
from langchain_core.prompt_values import PromptValue

from costguard_core.routing import Answer, Decision, Message
from costguard_core.routing.decision import mark_in, with_decision
from costguard_core.routing.request import ChatRequest, block_types, chat_request, modalities_of
from costguard_core.routing.tier_result import TierResult
from costguard_core.types import Attribution
from costguard_core.usage.parameters import output_limit
from langchain_costguard.translate.answers import result_usage
from langchain_costguard.translate.messages import plain_text

ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
"""LangChain's type of a message → its role. Every other type counts as the user's."""


def messages_of(input: Any) -> list[BaseMessage]:
    """The messages in anything that stands before a model or a condition in a chain, also a dict of strings."""
    if isinstance(input, PromptValue):
        return input.to_messages()
    if isinstance(input, BaseMessage):
        return [input]
    if isinstance(input, Mapping):
        if "messages" in input:
            return convert_to_messages(input["messages"])
        return [HumanMessage("\n".join(str(value) for value in input.values() if isinstance(value, str)))]
    return [HumanMessage(input)] if isinstance(input, str) else convert_to_messages(input)


def request_of(
    messages: Sequence[BaseMessage],
    options: Mapping[str, Any],
    attribution: Attribution,
    metadata: Mapping[str, Any],
    *,
    structured: bool = False,
) -> ChatRequest:
    """The request that messages and the arguments of a call make. Its call site may be a node of a graph."""
    node = metadata.get("langgraph_node")
    return chat_request(
        messages,
        [Message(ROLES.get(m.type, "user"), text_of(m), getattr(m, "status", None) == "error") for m in messages],
        attribution,
        node=str(node) if node else None,
        output_tokens=output_limit(options),
        tools=len(options.get("tools") or options.get("functions") or ()),
        structured=structured or bool(options.get("response_format")),
        modalities=modalities_of(block_types(message.content for message in messages)),
    )


def text_of(message: BaseMessage) -> str:
    """What a message says, without calls of tools."""
    return message.content if isinstance(message.content, str) else str(message.text)


def tier_result(message: BaseMessage, *, structured: bool = False, unparsed: bool = False) -> TierResult:
    """What the answer of a tier means.

    Args:
        message: the answer.
        structured: it was to fit a schema. The arguments of the call that carries it are its text then.
        unparsed: it does not.
    """
    return TierResult.of(
        _answer(message, structured=structured),
        result_usage([ChatGeneration(message=message)], None),
        mark_in(message.response_metadata),
        unparsed=unparsed,
        full_text=plain_text(message),
    )


AI = TypeVar("AI", bound=AIMessage)


def with_route(message: AI, decision: Decision) -> AI:
    """A copy whose metadata holds the decision. A copy, because a cache may keep the original."""
    return message.model_copy(update={"response_metadata": with_decision(message.response_metadata, decision)})


def _answer(message: BaseMessage, *, structured: bool) -> Answer:
    metadata = message.response_metadata
    reason = metadata.get("finish_reason") or metadata.get("stop_reason")
    tool_calls = message.tool_calls if isinstance(message, AIMessage) else []
    if structured and tool_calls and not message.text:
        return Answer(json.dumps(tool_calls[0]["args"], default=str), reason)
    return Answer(text_of(message), reason, tuple(call["name"] for call in tool_calls))
