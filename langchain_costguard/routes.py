"""LangChain's words translated into the router's: messages → a request, models → tiers, answers → what is checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, TypeVar, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable
from pydantic import BaseModel

from costguard_core.errors import ConfigurationError
from costguard_core.prices import PriceBook
from costguard_core.routing import Decision, Judge, Message, Request, Score, Tier, asking, learned
from costguard_core.routing.branches import Condition
from costguard_core.routing.verify import Answer, Check, Verdict, complete, every, not_refused, valid_json
from costguard_core.tiering import tier_price
from costguard_core.values import Attribution
from langchain_costguard import calls

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
_ANSWER_TOKENS = 300  # assumed where a request sets no limit; for estimates of what a tier saves, never for money


@dataclass(frozen=True, slots=True)
class ChatRequest(Request):
    """A request that still knows its messages."""

    messages: tuple[BaseMessage, ...] = ()


class Conversation(list[BaseMessage]):
    """What a condition is given: the list of messages, which also has what the router made of it.

    ``.text`` is what the user said last, ``.tag``, ``.session``, ``.input_tokens``, ``.turns``, ``.tools``,
    ``.modalities`` and ``.phase`` are those of :class:`costguard_core.routing.Request`.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(getattr(request, "messages", ()))
        self.request = request

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.request, name)


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
    tag = attribution.endpoint or attribution.template or attribution.feature or (str(node) if node else None)
    made = ChatRequest.of(
        [Message(_ROLES.get(m.type, "user"), _text(m), _failed(m)) for m in messages],
        tag=tag,
        session=attribution.session,
        output_tokens=calls.output_limit(options, {}) or _ANSWER_TOKENS,
        tools=len(options.get("tools") or options.get("functions") or ()),
        structured=structured or bool(options.get("response_format")),
        modalities=set(_modalities(messages)),
    )
    return replace(cast(ChatRequest, made), messages=tuple(messages))


def tier_of(name: str, model: BaseChatModel, prices: PriceBook) -> Tier:
    """A tier with its price and its hard limits, as far as they are known."""
    profile: Mapping[str, Any] = model.profile or {}
    ls = model._get_ls_params()
    accepted = {word for key, word in _PROFILED.items() if profile.get(key)}
    return Tier(
        name,
        price=tier_price(prices, calls.model_name(ls, {}), ls.get("ls_provider")),
        max_input_tokens=profile.get("max_input_tokens"),
        modalities=frozenset(accepted) if any(key in profile for key in _PROFILED) else None,
        tools=profile.get("tool_calling") is not False and type(model).bind_tools is not BaseChatModel.bind_tools,
    )


def named(models: Iterable[BaseChatModel]) -> dict[str, BaseChatModel]:
    """Models by the name of what they run; one that occurs twice is one tier."""
    found: dict[str, BaseChatModel] = {}
    for model in models:
        if any(model is known for known in found.values()):
            continue
        told = calls.model_name(model._get_ls_params(), {})
        base = type(model).__name__ if told.startswith("(") else told
        spare = (f"{base} ({number})" for number in range(2, len(found) + 3))
        found[base if base not in found else next(name for name in spare if name not in found)] = model
    return found


def condition(given: Callable[[Any], Any] | Runnable[Any, Any]) -> Condition:
    """A condition over messages as one over requests."""
    ask = given.invoke if isinstance(given, Runnable) else given
    if not callable(ask):
        raise ConfigurationError(f"a condition is a function of the messages or a Runnable, not {given!r}")

    def holds(request: Request) -> bool:
        return bool(ask(Conversation(request)))

    name = given.get_name() if isinstance(given, Runnable) else getattr(given, "__name__", "")
    holds.__name__ = "<lambda>" if name in ("", "RunnableLambda") else name
    return holds


def scorer(given: Any) -> Callable[[Request], Score | None]:
    """A scorer from a scorer, the path of a trained one, or a function that returns a plain number."""
    if isinstance(given, (str, PathLike)):
        return learned(given)
    if not callable(given):
        raise ConfigurationError(f"score={given!r} is neither a scorer nor the path of a trained router")
    if hasattr(given, "quantiles"):
        return cast(Callable[[Request], Score | None], given)

    def score(request: Request) -> Score | None:
        found = given(request)
        return Score(float(found)) if isinstance(found, (bool, int, float)) else found

    return score


def judge(given: BaseChatModel | Judge | None) -> Judge | None:
    """A judge from a chat model, which is asked in one short prompt."""
    if not isinstance(given, BaseChatModel):
        return given
    return asking(lambda prompt: str(given.invoke(prompt).text))


def check(given: Any) -> Check | None:
    """What ``verify=`` may be, as one check. A check that breaks has not passed."""
    if given is None or given is False:
        return None
    if given is True:
        return every(complete(), not_refused())
    if isinstance(given, Mapping) or (isinstance(given, type) and issubclass(given, BaseModel)):
        return valid_json(given)
    if not callable(given):
        raise ConfigurationError(f"verify={given!r} is not a check: a function of an Answer, a schema, or True")

    def checked(answer: Answer) -> Verdict:
        try:
            said = given(answer)
        except Exception as error:
            return Verdict(False, f"check failed: {type(error).__name__}")
        return said if isinstance(said, Verdict) else Verdict(bool(said), "" if said else "check said no")

    return checked


def answer_of(message: BaseMessage, *, structured: bool = False) -> Answer:
    """A message as a check sees it; of structured output, the arguments of the call that carries it are the text."""
    told = message.response_metadata
    reason = told.get("finish_reason") or told.get("stop_reason")
    made = message.tool_calls if isinstance(message, AIMessage) else []
    if structured and made and not message.text:
        return Answer(json.dumps(made[0]["args"], default=str), reason)
    return Answer(_text(message), reason, tuple(call["name"] for call in made))


Marked = TypeVar("Marked", bound=AIMessage)


def marked(message: Marked, decision: Decision) -> Marked:
    """A copy that says how it was routed. A copy, because the original may be the one that a cache keeps."""
    mark = {**_mark(message), "route": decision.as_dict()}
    return message.model_copy(update={"response_metadata": {**message.response_metadata, calls.MARK: mark}})


def is_reply_of_budget(message: BaseMessage) -> bool:
    """Whether this is the static reply of a budget that refused: nobody was asked."""
    return "refused" in _mark(message)


def is_hit(message: BaseMessage) -> bool:
    """Whether a cache gave this answer."""
    return "cache" in _mark(message)


def sample_of(message: BaseMessage) -> str | None:
    """The id under which the prompt log keeps this answer, if it does."""
    route = _mark(message).get("route")
    found = route.get("sample") if isinstance(route, Mapping) else None
    return found if isinstance(found, str) else None


def gives_way(message: BaseMessage) -> bool:
    """Whether it is the reply of a budget that would rather have a cheaper tier answer."""
    return is_reply_of_budget(message) and _mark(message).get("on_exceed") == "downgrade"


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
