"""LlamaIndex's words in the router's: messages → a request, models → tiers, responses → what they brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, LLMMetadata, MessageRole, ToolCallBlock
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from costguard_core import Attribution, ConfigurationError, Usage
from costguard_core.pricing import PriceBook
from costguard_core.routing import Answer, Judge, Message, Tier, asking
from costguard_core.routing.cascade import Bill, Brought, Model
from costguard_core.routing.cascade.conversation import ChatRequest, chat_request, over_messages
from costguard_core.routing.cascade.validation import called_at_once, shown
from costguard_core.routing.conditions import Condition
from costguard_core.routing.pacing import tier_price
from costguard_core.usage.totals import sum_usage
from llamaindex_costguard.translate.answers import MARK
from llamaindex_costguard.translate.identity import model_name, provider_of
from llamaindex_costguard.translate.parameters import limit_of
from llamaindex_costguard.translate.responses import Response, finish_reasons, message_text, usage_of

_MODALITIES = {"image": "image", "audio": "audio", "video": "video", "document": "pdf"}
_ROLES = {MessageRole.DEVELOPER: "system", MessageRole.FUNCTION: "tool", MessageRole.CHATBOT: "assistant"}
_OBSERVATION = "Observation:"  # how a ReActAgent says, in the user's name, what a tool returned


def messages_of(given: Any) -> list[ChatMessage]:
    """The messages in what somebody asks about: a text, a message, or messages."""
    if isinstance(given, str):
        return [ChatMessage(role=MessageRole.USER, content=given)]
    return [given] if isinstance(given, ChatMessage) else list(given)


def request_of(
    messages: Sequence[ChatMessage],
    options: Mapping[str, Any],
    attribution: Attribution,
    *,
    question: str | None = None,
    structured: bool = False,
) -> ChatRequest:
    """What the router sees. The call site is the endpoint, else the template or the feature.

    ``question`` is what the user asked, where the messages hold retrieved context as well.
    """
    return chat_request(
        messages,
        [Message(_role(message), message_text(message)) for message in messages],
        attribution,
        question=question,
        output_tokens=limit_of(options),
        tools=len(options.get("tools") or ()),
        structured=structured or bool(options.get("response_format")),
        modalities={_MODALITIES[b.block_type] for m in messages for b in m.blocks if b.block_type in _MODALITIES},
    )


def neutral(message: ChatMessage) -> ChatMessage:
    """A message that every integration understands.

    OpenAI's integration keeps its own objects beside the tool calls, which Anthropic's trips over.
    """
    if "tool_calls" not in message.additional_kwargs or not any(isinstance(b, ToolCallBlock) for b in message.blocks):
        return message
    kept = {name: value for name, value in message.additional_kwargs.items() if name != "tool_calls"}
    return message.model_copy(update={"additional_kwargs": kept})


def tier_of(name: str, llm: LLM, prices: PriceBook) -> Tier:
    """A tier with its price and its hard limits, as far as they are known."""
    told, model = _told(llm), model_of(llm)
    return Tier(
        name,
        price=tier_price(prices, model.name, model.provider),
        max_input_tokens=None if told is None else max(1, told.context_window - max(0, told.num_output)),
        tools=isinstance(llm, FunctionCallingLLM) and (told is None or told.is_function_calling_model),
    )


def model_of(llm: LLM) -> Model:
    """What a tier runs."""
    return Model(model_name(llm), provider_of(type(llm)))


def bill(prices: PriceBook, tiers: Mapping[str, LLM]) -> Bill:
    """What the tiers cost, cheapest first."""
    return Bill(prices, {name: model_of(llm) for name, llm in tiers.items()})


def common_metadata(tiers: Mapping[str, LLM]) -> LLMMetadata:
    """What all tiers can do: the least of each.

    Raises:
        ValueError: what an integration raises that does not know its model.
    """
    told = [llm.metadata for llm in tiers.values()]
    roles = {one.system_role for one in told}
    return LLMMetadata(
        context_window=min(one.context_window for one in told),
        num_output=min(one.num_output for one in told),
        is_chat_model=all(one.is_chat_model for one in told),
        is_function_calling_model=all(one.is_function_calling_model for one in told),
        model_name=" | ".join(model_of(llm).name for llm in tiers.values()),
        # Whoever knows no system messages takes them from a user; the others take that as well.
        system_role=next(iter(roles)) if len(roles) == 1 else MessageRole.USER,
    )


def condition(given: Callable[[Any], Any]) -> Condition:
    """A condition over messages as one over requests.

    Raises:
        ConfigurationError: it cannot be called.
    """
    if not callable(given):
        raise ConfigurationError(f"a condition is a function of the messages, not {shown(given)}")

    return over_messages(given, getattr(given, "__name__", "<lambda>"))


def judge(given: LLM | Judge | None) -> Judge | None:
    """A judge from an LLM, which is asked in one short prompt."""
    if not isinstance(given, LLM):
        return None if given is None else called_at_once(given, "judge=")
    return asking(lambda prompt: given.complete(prompt).text)


def brought(
    text: str, heard: Sequence[Response], *, provider: str | None, finish: str | None = None, unparsed: bool = False
) -> Brought:
    """What a call brought, from the text that its caller gets and the responses behind it."""
    last = heard[-1] if heard else None
    mark = {} if last is None else mark_of(last)
    blocks = last.message.blocks if last is not None and hasattr(last, "message") else ()
    return Brought(
        Answer(
            text,
            finish or (None if last is None else finish_reason(last)),
            tuple(block.tool_name for block in blocks if isinstance(block, ToolCallBlock)),
        ),
        usage=_used(heard, provider),
        from_budget="refused" in mark,
        gives_way="refused" in mark and mark.get("on_exceed") == "downgrade",
        from_cache="cache" in mark,
        unparsed=unparsed,
    )


def finish_reason(response: Response) -> str | None:
    """Why the answer ended, in the provider's word."""
    return next(iter(finish_reasons(response)), None)


def mark_of(response: Response) -> Mapping[str, Any]:
    """What was written on a response before it was given to its caller."""
    found = response.additional_kwargs.get(MARK)
    return found if isinstance(found, Mapping) else {}


def marked(response: Any, route: Mapping[str, Any]) -> Any:
    """A copy that says how it was routed. A copy, because the original may be the one that a cache keeps."""
    mark = {**mark_of(response), "route": dict(route)}
    return response.model_copy(update={"additional_kwargs": {**response.additional_kwargs, MARK: mark}})


def _used(heard: Sequence[Response], provider: str | None) -> Usage | None:
    total: Usage | None = None
    for response in heard:
        used = usage_of(response, provider)
        if used is None:
            return None
        total = used if total is None else sum_usage(total, used)
    return total


def _role(message: ChatMessage) -> str:
    if message.role is MessageRole.USER and (message.content or "").startswith(_OBSERVATION):
        return "tool"
    return _ROLES.get(message.role, message.role.value)


def _told(llm: LLM) -> LLMMetadata | None:
    try:
        return llm.metadata
    except Exception:  # OpenAI's raises for a model that is newer than the integration
        return None
