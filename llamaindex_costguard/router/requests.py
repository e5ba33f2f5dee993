"""The forms in which LlamaIndex asks a model, each as one thing that any tier can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core import Attribution
from costguard_core.routing.cascade import Brought
from costguard_core.routing.cascade.conversation import ChatRequest
from llamaindex_costguard.llm.call_context import RouteContext, question_in
from llamaindex_costguard.router import translate as routes
from llamaindex_costguard.translate.responses import RESPONSES, Response, text_of

_CUT_SHORT = ("LengthFinishReasonError", "ContentFilterFinishReasonError")  # of the OpenAI client


class Offered(list[BaseTool]):
    """Tools that no integration has put into its own words yet."""


class Got(NamedTuple):
    """What one tier returned: a value, or the values of a stream so far, and the responses heard behind them."""

    value: Any
    route_context: RouteContext
    provider: str | None
    error: Exception | None = None


class Ask:
    """One request. ``method`` is the name under which every tier has it.

    Args:
        make: asks a tier.
        describe: the request as the router sees it, for who asks.
        text: what a returned value says, where it is not a response.
        fits: whether a returned value is what was asked for.
    """

    __slots__ = ("_describe", "_fits", "_make", "_text")

    def __init__(
        self,
        make: Callable[[Any], Any],
        describe: Callable[[Attribution], ChatRequest],
        text: Callable[[Any], str] = str,
        fits: Callable[[Any], bool] = lambda _: True,
    ) -> None:
        self._make, self._describe, self._text, self._fits = make, describe, text, fits

    def request(self, attribution: Attribution) -> ChatRequest:
        """What the router decides about."""
        return self._describe(attribution)

    def of(self, tier: LLM) -> Any:
        """Ask this tier: a value, an awaitable, or a stream, as the method has it."""
        return self._make(tier)

    def read(self, got: Got) -> Brought:
        """What a value brought."""
        if got.error is not None:
            return routes.brought("", got.route_context.responses, provider=got.provider, unparsed=True)
        if isinstance(got.value, RESPONSES):
            return routes.brought(text_of(got.value), [got.value], provider=got.provider)
        return routes.brought(self._text(got.value), got.route_context.responses, provider=got.provider)

    def read_stream(self, got: Got) -> Brought:
        """What the values of a stream brought. Responses and objects are cumulative, tokens are not."""
        chunks: list[Any] = got.value
        if got.error is not None or not chunks:
            return routes.brought(
                "", got.route_context.responses, provider=got.provider, unparsed=got.error is not None
            )
        last = chunks[-1]
        if isinstance(last, RESPONSES):
            return _brought_by_chunks(chunks, got)
        text = "".join(chunks) if isinstance(last, str) else self._text(last)
        facts: dict[str, Any] = {"finish": got.route_context.finish_reason, "unparsed": not self._fits(last)}
        return routes.brought(text, got.route_context.responses, provider=got.provider, **facts)


def chat(method: str, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Ask:
    """A list of messages, perhaps with tools."""
    given = [routes.neutral(message) for message in messages]

    def make(tier: Any) -> Any:
        tools = kwargs.get("tools")
        if not isinstance(tools, Offered):
            return getattr(tier, method)(given, **kwargs)
        rest = {name: value for name, value in kwargs.items() if name != "tools"}
        return getattr(tier, f"{method}_with_tools")(list(tools), chat_history=list(given), **rest)

    return Ask(make, lambda who: routes.request_of(given, kwargs, who))


def complete(method: str, prompt: str, kwargs: Mapping[str, Any], *, formatted: bool) -> Ask:
    """A text to be completed."""
    return Ask(
        lambda tier: getattr(tier, method)(prompt, formatted=formatted, **kwargs),
        lambda who: routes.request_of(routes.messages_of(prompt), kwargs, who),
    )


def predict(method: str, llm: LLM, prompt: BasePromptTemplate, values: Mapping[str, Any]) -> Ask:
    """A template to be filled and answered with text."""

    def describe(who: Attribution) -> ChatRequest:
        return _templated(llm, prompt, values, {}, who)

    return Ask(lambda tier: getattr(tier, method)(prompt, **values), describe)


def structured(
    method: str,
    llm: LLM,
    output: Any,
    prompt: BasePromptTemplate,
    llm_kwargs: dict[str, Any] | None,
    values: Mapping[str, Any],
) -> Ask:
    """A template to be filled and answered with an object, in the way of each provider."""

    def make(tier: Any) -> Any:
        return getattr(tier, method)(output, prompt, llm_kwargs=llm_kwargs, **values)

    def describe(who: Attribution) -> ChatRequest:
        return _templated(llm, prompt, values, llm_kwargs or {}, who, structured=True)

    return Ask(make, describe, text=_object_text, fits=lambda value: _fits(value, output))


def is_unparsed(error: Exception) -> bool:
    """Whether a tier answered with what is not the object that was asked for: integrations parse, and raise."""
    return isinstance(error, (ValueError, TypeError)) or type(error).__name__ in _CUT_SHORT


def _templated(
    llm: LLM,
    prompt: BasePromptTemplate,
    values: Mapping[str, Any],
    kwargs: Mapping[str, Any],
    who: Attribution,
    *,
    structured: bool = False,
) -> ChatRequest:
    messages = prompt.format_messages(llm=llm, **values)
    question = question_in({**prompt.kwargs, **values})
    return routes.request_of(messages, kwargs, who, question=question, structured=structured)


def _brought_by_chunks(chunks: Sequence[Response], got: Got) -> Brought:
    """Usage and the reason to end may come in any chunk."""
    reasons = (found for chunk in reversed(chunks) if (found := routes.finish_reason(chunk)) is not None)
    last = routes.brought(text_of(chunks[-1]), [chunks[-1]], provider=got.provider, finish=next(reasons, None))
    heard = routes.brought("", got.route_context.responses, provider=got.provider).usage
    return last._replace(usage=last.usage or heard)


def _object_text(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    return _object_text(value[-1]) if isinstance(value, list) and value else str(value)


def _fits(value: Any, output: type[BaseModel]) -> bool:
    """Whether the last object of a stream is a whole one: until then, streams hold objects with everything optional."""
    last = value[-1] if isinstance(value, list) and value else value
    if isinstance(last, output):
        return True
    try:
        output.model_validate(last.model_dump())
    except ValueError:
        return False
    return True
