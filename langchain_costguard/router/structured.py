"""Structured output of a router: each tier parses its own way; with ``verify=``, what does not parse escalates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_costguard.router import translate as routes
from langchain_costguard.router.cascade import Journey, atravel, travel
from langchain_costguard.router.shadow import Ask

if TYPE_CHECKING:
    from langchain_costguard.router.router import TieredRouter

_CUT_SHORT = ("LengthFinishReasonError", "ContentFilterFinishReasonError")  # of the OpenAI client


class RoutedOutput(Runnable[LanguageModelInput, Any]):
    """What ``router.with_structured_output(schema)`` returns."""

    def __init__(self, router: TieredRouter, schema: Any, options: dict[str, Any]) -> None:
        self._router = router
        self._raw = bool(options.get("include_raw"))
        # The raw answer is needed to say what it cost, why it came from there, and whether it parsed.
        told = {**options, "include_raw": True}
        self._chains: dict[str, Runnable[Any, Any]] = {
            name: model.with_structured_output(schema, **told) for name, model in router.models.items()
        }

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        router = self._router
        messages, config = router._convert_input(input).to_messages(), router._config(config)
        journey: Journey[dict[str, Any]] = router._journey(messages, config, kwargs, message_of=_raw, failed=_failed)

        def ask(tier: str, config: RunnableConfig) -> dict[str, Any]:
            try:
                found: dict[str, Any] = self._chains[tier].invoke(messages, config, **kwargs)
            except Exception as error:
                return _unparsed(error, journey)
            return found

        return self._told(travel(journey, config, ask), journey, self._again(messages, kwargs), config)

    async def ainvoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        router = self._router
        messages, config = router._convert_input(input).to_messages(), router._config(config)
        journey: Journey[dict[str, Any]] = await router._ajourney(
            messages, config, kwargs, message_of=_raw, failed=_failed
        )

        async def ask(tier: str, config: RunnableConfig) -> dict[str, Any]:
            try:
                found: dict[str, Any] = await self._chains[tier].ainvoke(messages, config, **kwargs)
            except Exception as error:
                return _unparsed(error, journey)
            return found

        return self._told(await atravel(journey, config, ask), journey, self._again(messages, kwargs), config)

    def stream(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        yield self.invoke(input, config, **kwargs)

    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        yield await self.ainvoke(input, config, **kwargs)

    def _again(self, messages: list[BaseMessage], kwargs: dict[str, Any]) -> Ask:
        def ask(tier: str, config: RunnableConfig) -> BaseMessage:
            return _raw(self._chains[tier].invoke(messages, config, **kwargs))

        return ask

    def _told(self, found: dict[str, Any], journey: Journey[dict[str, Any]], again: Ask, config: RunnableConfig) -> Any:
        decision = journey.finished(found["raw"], again, config)
        if self._raw:
            return {**found, "raw": routes.marked(found["raw"], decision)}
        if found["parsing_error"] is not None:
            raise found["parsing_error"]
        return found["parsed"]


def _unparsed(error: Exception, journey: Journey[dict[str, Any]]) -> dict[str, Any]:
    """Some clients parse for themselves, and raise: to a check that is an answer which does not parse."""
    if not journey.is_checked or not (isinstance(error, ValueError) or type(error).__name__ in _CUT_SHORT):
        raise error
    return {"raw": AIMessage(""), "parsed": None, "parsing_error": error}


def _raw(found: dict[str, Any]) -> BaseMessage:
    message: BaseMessage = found["raw"]
    return message


def _failed(found: dict[str, Any]) -> bool:
    return found["parsing_error"] is not None or found["parsed"] is None
