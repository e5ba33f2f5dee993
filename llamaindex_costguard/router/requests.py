"""The forms in which LlamaIndex asks a model, each as one request that any tier can be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.tools import BaseTool
from pydantic import BaseModel

from costguard_core import Attribution
from costguard_core.cache.semantic.template import question_in
from costguard_core.routing.request import ChatRequest
from llamaindex_costguard.router.translate import for_any_provider, messages_of, request_of


class PendingTools(list[BaseTool]):
    """Tools that are put into the form of a provider once it is known which tier gets the request."""


class RouterRequest:
    """A list of messages, perhaps with tools: what ``chat`` and its twins take."""

    blocking_method: ClassVar[str] = "chat"
    """The method of an LLM that answers at once."""

    def __init__(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, object]) -> None:
        self.messages, self.kwargs = list(map(for_any_provider, messages)), kwargs

    def send(self, llm: object, method: str) -> Any:
        """Ask a tier through this or one of the twins of the blocking method; returns what that returns."""
        tools = self.kwargs.get("tools")
        if not isinstance(tools, PendingTools):
            return getattr(llm, method)(self.messages, **self.kwargs)
        rest = {name: value for name, value in self.kwargs.items() if name != "tools"}
        return getattr(llm, f"{method}_with_tools")(list(tools), chat_history=list(self.messages), **rest)

    def describe(self, attribution: Attribution) -> ChatRequest:
        """The request as the router sees it."""
        return request_of(self.messages, self.kwargs, attribution)

    def text_of(self, value: object) -> str:
        """What a returned value says, if it is not a response."""
        return str(value)

    def is_whole(self, value: object) -> bool:
        """Whether the last value of a stream is all that was asked for."""
        return True


class CompletionRequest(RouterRequest):
    """A text to be completed: what ``complete`` and its twins take."""

    blocking_method = "complete"

    def __init__(self, prompt: str, formatted: bool, kwargs: Mapping[str, object]) -> None:
        super().__init__(messages_of(prompt), kwargs)
        self._prompt, self._formatted = prompt, formatted

    def send(self, llm: object, method: str) -> Any:
        return getattr(llm, method)(self._prompt, formatted=self._formatted, **self.kwargs)


class TemplateRequest(RouterRequest):
    """A template to be filled and answered with text: what ``predict`` and its twins take."""

    blocking_method = "predict"

    def __init__(self, router: LLM, prompt: BasePromptTemplate, values: Mapping[str, object]) -> None:
        super().__init__(prompt.format_messages(llm=router, **values), {})
        self._prompt, self._values = prompt, values

    def send(self, llm: object, method: str) -> Any:
        return getattr(llm, method)(self._prompt, **self._values)

    def describe(self, attribution: Attribution) -> ChatRequest:
        question = question_in({**self._prompt.kwargs, **self._values})
        structured = isinstance(self, StructuredRequest)
        return request_of(self.messages, self.kwargs, attribution, question=question, structured=structured)


class StructuredRequest(TemplateRequest):
    """A template to be filled and answered with an object: what ``structured_predict`` and its twins take."""

    blocking_method = "structured_predict"

    def __init__(
        self, router: LLM, output_cls: Any, prompt: BasePromptTemplate, llm_kwargs: Any, values: Mapping[str, Any]
    ) -> None:
        super().__init__(router, prompt, values)
        self._output, self._llm_kwargs, self.kwargs = output_cls, llm_kwargs, llm_kwargs or {}

    def send(self, llm: object, method: str) -> Any:
        return getattr(llm, method)(self._output, self._prompt, llm_kwargs=self._llm_kwargs, **self._values)

    def text_of(self, value: object) -> str:
        last = _last(value)
        return last.model_dump_json() if isinstance(last, BaseModel) else str(last)

    def is_whole(self, value: Any) -> bool:
        """Until its end, a stream holds objects of which everything is optional."""
        last = _last(value)
        if isinstance(last, self._output):
            return True
        try:
            self._output.model_validate(last.model_dump())
        except ValueError:
            return False
        return True


def _last(value: object) -> Any:
    """Of several objects that one answer holds, the last."""
    return value[-1] if isinstance(value, list) and value else value
