"""LangChain models on the simulated provider, and what is read from their answers."""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any

from langchain_openai import ChatOpenAI

from costguard_core.simulate import Simulator

METHODS = ("invoke", "ainvoke", "stream", "astream", "generate", "agenerate")
"""The ways to ask a LangChain chat model for one answer."""
WAYS = METHODS[:4]
"""Those that take one question, and not a list of them."""

CENT_PRICES = {
    "one-cent": {"input": "0", "output": "0", "request": "0.01"},
    "ten-cent": {"input": "0", "output": "0", "request": "0.10"},
}
"""Price overrides for two models that cost a fixed amount per call."""


def chat_model(server: Simulator, model: str = "gpt-4o-mini", **options: Any) -> ChatOpenAI:
    """A chat model of the simulated provider that never tries again by itself."""
    return ChatOpenAI(base_url=server.base_url, **{"api_key": "simulated", "max_retries": 0, "model": model} | options)


async def ask(model: Any, way: str, question: Any = "hi", **options: Any) -> None:
    """Ask in one of the :data:`WAYS`, and read the answer to its end."""
    match way:
        case "invoke":
            model.invoke(question, **options)
        case "stream":
            list(model.stream(question, **options))
        case "ainvoke":
            await model.ainvoke(question, **options)
        case _:
            _ = [chunk async for chunk in model.astream(question, **options)]


def route(message: Any) -> dict[str, Any]:
    """What a router wrote about its decision into the answer."""
    found: dict[str, Any] = message.response_metadata["costguard"]["route"]
    return found


def merged(chunks: list[Any]) -> Any:
    """The message that the chunks of a stream add up to."""
    return reduce(add, chunks)
