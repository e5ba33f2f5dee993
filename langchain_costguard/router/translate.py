"""LangChain's words translated into the router's: messages → a request, models → tiers, answers → what is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableLambda

from costguard_core.errors import ConfigurationError
from costguard_core.pricing import PriceBook
from costguard_core.routing import Answer, Decision, Message, Tier
from costguard_core.routing.cascade import Bill, Brought, Model
from costguard_core.routing.cascade.conversation import ChatRequest, chat_request, over_messages
from costguard_core.routing.cascade.validation import called_at_once, shown
from costguard_core.routing.conditions import Condition
from costguard_core.routing.pacing import tier_price
from costguard_core.types import Attribution
from langchain_costguard.translate import parameters as calls
from langchain_costguard.translate.usage import message_usage

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
_MODALITIES = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "video": "video",
    "file": "pdf",
    "document": "pdf",
}
_PROFILED = {"image_inputs": "image", "audio_inputs": "audio", "video_inputs": "video", "pdf_inputs": "pdf"}


def messages_of(given: Any) -> list[BaseMessage]:
    """The messages in anything that a chain may hold at the place of a condition: also a dict of strings."""
    from langchain_core.messages import HumanMessage, convert_to_messages

    if isinstance(given, PromptValue):
        return given.to_messages()
    if isinstance(given, BaseMessage):
        return [given]
    if isinstance(given, Mapping):
        if "messages" in given:
            return convert_to_messages(given["messages"])
        return [HumanMessage("\n".join(str(value) for value in given.values() if isinstance(value, str)))]
    return [HumanMessage(given)] if isinstance(given, str) else convert_to_messages(given)


def request_of(
    messages: Sequence[BaseMessage],
    options: Mapping[str, Any],
    attribution: Attribution,
    metadata: Mapping[str, Any],
    *,
    structured: bool = False,
) -> ChatRequest:
    """What the router sees. The call site is the endpoint, else the template, the feature or the node of a graph."""
    node = metadata.get("langgraph_node")
    return chat_request(
        messages,
        [Message(_ROLES.get(m.type, "user"), _text(m), _failed(m)) for m in messages],
        attribution,
        node=str(node) if node else None,
        output_tokens=calls.output_limit(options, {}),
        tools=len(options.get("tools") or options.get("functions") or ()),
        structured=structured or bool(options.get("response_format")),
        modalities=set(_modalities(messages)),
    )


def tier_of(name: str, model: BaseChatModel, prices: PriceBook) -> Tier:
    """A tier with its price and its hard limits, as far as they are known."""
    profile: Mapping[str, Any] = model.profile or {}
    runs = model_of(model)
    accepted = {word for key, word in _PROFILED.items() if profile.get(key)}
    return Tier(
        name,
        price=tier_price(prices, runs.name, runs.provider),
        max_input_tokens=profile.get("max_input_tokens"),
        modalities=frozenset(accepted) if any(key in profile for key in _PROFILED) else None,
        tools=profile.get("tool_calling") is not False and type(model).bind_tools is not BaseChatModel.bind_tools,
    )


def model_of(model: BaseChatModel) -> Model:
    """What a tier runs."""
    ls: Mapping[str, Any] = model._get_ls_params()
    return Model(calls.model_name(ls, {}), ls.get("ls_provider"))


def display_name(model: BaseChatModel) -> str:
    """What a tier is called that was given no name: what it runs, else its class."""
    told = model_of(model).name
    return type(model).__name__ if told.startswith("(") else told


def bill(prices: PriceBook, models: Mapping[str, BaseChatModel]) -> Bill:
    """What the tiers cost, cheapest first."""
    return Bill(prices, {name: model_of(model) for name, model in models.items()})


def condition(given: Callable[[Any], Any] | Runnable[Any, Any]) -> Condition:
    """A condition over messages as one over requests."""
    ask = given.invoke if isinstance(given, Runnable) else given
    if not callable(ask):
        raise ConfigurationError(f"a condition is a function of the messages or a Runnable, not {shown(given)}")
    if isinstance(given, RunnableLambda) and not hasattr(given, "func"):  # a Runnable of an async function alone
        called_at_once(given.afunc, "a condition")

    name = given.get_name() if isinstance(given, Runnable) else getattr(given, "__name__", "")
    return over_messages(ask, "<lambda>" if name in ("", "RunnableLambda") else name)


def answer_of(message: BaseMessage, *, structured: bool = False) -> Answer:
    """A message as a check sees it; of structured output, the arguments of the call that carries it are the text."""
    told = message.response_metadata
    reason = told.get("finish_reason") or told.get("stop_reason")
    made = message.tool_calls if isinstance(message, AIMessage) else []
    if structured and made and not message.text:
        return Answer(json.dumps(made[0]["args"], default=str), reason)
    return Answer(_text(message), reason, tuple(call["name"] for call in made))


def brought(message: BaseMessage, *, structured: bool = False, unparsed: bool = False) -> Brought:
    """What a call brought, from its message."""
    mark = _mark(message)
    refused = "refused" in mark
    return Brought(
        answer_of(message, structured=structured),
        usage=message_usage(message),
        from_budget=refused,
        gives_way=refused and mark.get("on_exceed") == "downgrade",
        from_cache="cache" in mark,
        unparsed=unparsed,
        said=calls.plain_text(message),
    )


Marked = TypeVar("Marked", bound=AIMessage)


def marked(message: Marked, decision: Decision) -> Marked:
    """A copy that says how it was routed. A copy, because the original may be the one that a cache keeps."""
    mark = {**_mark(message), "route": decision.as_dict()}
    return message.model_copy(update={"response_metadata": {**message.response_metadata, calls.MARK: mark}})


def sample_of(message: BaseMessage) -> str | None:
    """The id under which the prompt log keeps this answer, if it does."""
    route = _mark(message).get("route")
    found = route.get("sample") if isinstance(route, Mapping) else None
    return found if isinstance(found, str) else None


def _mark(message: BaseMessage) -> Mapping[str, Any]:
    found = message.response_metadata.get(calls.MARK)
    return found if isinstance(found, Mapping) else {}


def _text(message: BaseMessage) -> str:
    return message.content if isinstance(message.content, str) else str(message.text)


def _failed(message: BaseMessage) -> bool:
    return isinstance(message, ToolMessage) and message.status == "error"


def _modalities(messages: Iterable[BaseMessage]) -> Iterator[str]:
    for message in messages:
        for block in message.content if isinstance(message.content, list) else ():
            kind = _MODALITIES.get(str(block.get("type"))) if isinstance(block, dict) else None
            if kind is not None:
                yield kind
