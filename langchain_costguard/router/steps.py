"""Small steps that every way through a router shares: arguments for a tier, and answers marked with their route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableBinding, RunnableConfig

from costguard_core.routing import Decision
from langchain_costguard.router import translate as routes


def bound(model: BaseChatModel, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model and the arguments of the call, tools in the words of its provider."""
    if not options.get("tools"):
        return model, dict(options)
    given = {name: value for name, value in options.items() if name != "tools"}
    bound: Any = model.bind_tools(options["tools"], **given)
    arguments: dict[str, Any] = {}
    while isinstance(bound, RunnableBinding):
        bound, arguments = bound.bound, {**bound.kwargs, **arguments}
    return bound, arguments


def itself(message: AIMessage) -> BaseMessage:
    return message


def whole(chunks: list[AIMessageChunk]) -> BaseMessage:
    return reduce(add, chunks) if chunks else AIMessage("")


def of_result(result: LLMResult) -> BaseMessage:
    return cast(ChatGeneration, result.generations[0][0]).message


async def gathered(chunks: AsyncIterator[AIMessageChunk], *, only_first: bool) -> list[AIMessageChunk]:
    found: list[AIMessageChunk] = []
    async for chunk in chunks:
        found.append(chunk)
        if only_first:
            break
    return found


def marked_stream(chunks: Sequence[AIMessageChunk], decision: Decision) -> Iterator[AIMessageChunk]:
    """One chunk is marked: sums of chunks join equal strings."""
    for index, chunk in enumerate(chunks):
        yield routes.marked(chunk, decision) if index == 0 else chunk


class Kept:
    """The chunks of a stream as they pass by, if somebody will want the whole of them."""

    def __init__(self, shown: Sequence[AIMessageChunk], *, wanted: bool) -> None:
        self._wanted = wanted
        self._chunks = list(shown) if wanted else []

    def seen(self, chunk: AIMessageChunk) -> AIMessageChunk:
        if self._wanted:
            self._chunks.append(chunk)
        return chunk

    @property
    def message(self) -> BaseMessage:
        return whole(self._chunks)


def marked_result(result: LLMResult, decision: Decision) -> LLMResult:
    row = [
        found.model_copy(update={"message": routes.marked(cast(AIMessage, found.message), decision)})
        for found in cast(list[ChatGeneration], result.generations[0])
    ]
    return result.model_copy(update={"generations": [row]})


def joined(results: Sequence[LLMResult]) -> LLMResult:
    """Results of one prompt each as the result of all. What was used is on the messages, since the models differ."""
    if len(results) == 1:
        return results[0]
    runs = [run for result in results for run in result.run or ()]
    return LLMResult(generations=[result.generations[0] for result in results], llm_output={}, run=runs or None)


def run_config(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def as_arguments(config: RunnableConfig) -> dict[str, Any]:
    return {name: config.get(name) for name in ("callbacks", "tags", "metadata", "run_name", "run_id")}
