"""LlamaIndex's messages and responses translated for the router: requests, and what an answer means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock

from costguard_core import Attribution, Usage
from costguard_core.routing import Answer, Decision, Message
from costguard_core.routing.decision import mark_in, with_decision
from costguard_core.routing.request import ChatRequest, chat_request, modalities_of
from costguard_core.routing.tier_result import TierResult
from costguard_core.usage.parameters import output_limit
from costguard_core.usage.reader import end_sources, finish_reasons
from costguard_core.usage.totals import sum_known
from llamaindex_costguard.translate.answers import Response, text_of, usage_of
from llamaindex_costguard.translate.messages import message_text

_ROLES = {MessageRole.DEVELOPER: "system", MessageRole.FUNCTION: "tool", MessageRole.CHATBOT: "assistant"}
_OBSERVATION = "Observation:"  # how a ReActAgent begins a message that holds, in the user's name, a tool's result


def messages_of(input: str | ChatMessage | Sequence[ChatMessage]) -> list[ChatMessage]:
    """The messages in a text, a message, or messages."""
    if isinstance(input, str):
        return [ChatMessage(role=MessageRole.USER, content=input)]
    return [input] if isinstance(input, ChatMessage) else list(input)


def request_of(
    messages: Sequence[ChatMessage],
    options: Mapping[str, Any],
    attribution: Attribution,
    *,
    question: str | None = None,
    structured: bool = False,
) -> ChatRequest:
    """The request that messages and the arguments of a call make.

    ``question`` is what the user asked, where the messages hold retrieved context as well.
    """
    return chat_request(
        messages,
        [Message(role_of(message), message_text(message)) for message in messages],
        attribution,
        question=question,
        output_tokens=output_limit(options),
        tools=len(options.get("tools") or ()),
        structured=structured or bool(options.get("response_format")),
        modalities=modalities_of(block.block_type for message in messages for block in message.blocks),
    )


def role_of(message: ChatMessage) -> str:
    """The role of a message, as the core names it."""
    if message.role is MessageRole.USER and (message.content or "").startswith(_OBSERVATION):
        return "tool"
    return _ROLES.get(message.role, message.role.value)


def for_any_provider(message: ChatMessage) -> ChatMessage:
    """A message that every integration understands.

    OpenAI's integration keeps its own objects beside the tool calls, which Anthropic's trips over.
    """
    if "tool_calls" not in message.additional_kwargs or not any(isinstance(b, ToolCallBlock) for b in message.blocks):
        return message
    kept = {name: value for name, value in message.additional_kwargs.items() if name != "tool_calls"}
    return message.model_copy(update={"additional_kwargs": kept})


def tier_result(
    text: str,
    responses: Sequence[Response],
    *,
    provider: str | None,
    finish_reason: str | None = None,
    unparsed: bool = False,
) -> TierResult:
    """What the answer of a tier means.

    Args:
        text: what the caller gets.
        responses: of the model, behind it.
        provider: whose usage they hold.
        finish_reason: why the answer ended, where the last response does not say it.
        unparsed: it is not the object that was asked for.
    """
    last = responses[-1] if responses else None
    reasons = () if last is None else finish_reasons(end_sources(last))
    blocks = last.message.blocks if last is not None and hasattr(last, "message") else ()
    answer = Answer(
        text,
        finish_reason or next(iter(reasons), None),
        tuple(block.tool_name for block in blocks if isinstance(block, ToolCallBlock)),
    )
    return TierResult.of(
        answer, _usage(responses, provider), {} if last is None else mark_in(last.additional_kwargs), unparsed=unparsed
    )


def stream_result(chunks: Sequence[Response], responses: Sequence[Response], provider: str | None) -> TierResult:
    """What a stream of responses means. They are cumulative; usage and finish reason may be in any of them."""
    reasons = (reason for chunk in reversed(chunks) for reason in finish_reasons(end_sources(chunk)))
    last = chunks[-1]
    result = tier_result(text_of(last), [last], provider=provider, finish_reason=next(reasons, None))
    return result._replace(usage=result.usage or _usage(responses, provider))


def with_route(response: Response, decision: Decision) -> Response:
    """A copy that holds the decision. A copy, because a cache may keep the original."""
    kept = with_decision(response.additional_kwargs, decision)
    return response.model_copy(update={"additional_kwargs": kept})


def _usage(responses: Sequence[Response], provider: str | None) -> Usage | None:
    """The usage of all responses; ``None`` if one does not say it."""
    return sum_known(usage_of(response, provider) for response in responses)
