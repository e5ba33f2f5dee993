"""What a request asks, as caches and keys see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from costguard_core import Attribution

Config = RunnableConfig | None
"""What LangChain's methods take as ``config``."""


class ChatContent(NamedTuple):
    """A chat request by its objects, as guarded models ask.

    Attributes:
        model: the bare model.
        messages, stop, kwargs: as given to the model.
        attribution: who asks.
    """

    model: BaseLanguageModel[Any]
    messages: Sequence[BaseMessage]
    stop: Sequence[str] | None
    kwargs: Mapping[str, Any]
    attribution: Attribution


class TextContent(NamedTuple):
    """A request by the two strings that LangChain hands to a cache, and the call behind them where it is known.

    Attributes:
        prompt, llm_string: LangChain's strings.
        attribution: who asks.
        model, stop, kwargs: the call; the model is believed, not the string.
        complete: whether ``llm_string`` holds the arguments of the call, as it does for chat models.
        again: the request was looked up before, so that a reason to decline it is not counted twice.
    """

    prompt: str
    llm_string: str
    attribution: Attribution
    model: BaseLanguageModel[Any] | None = None
    stop: Sequence[str] | None = None
    kwargs: Mapping[str, Any] = {}
    complete: bool = True
    again: bool = False
