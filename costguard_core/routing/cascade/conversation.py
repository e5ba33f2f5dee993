"""A request that still knows its framework's messages, and what a condition over messages is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from costguard_core.routing import Message, Request
from costguard_core.routing.cascade.validation import called_at_once, said_at_once
from costguard_core.routing.conditions import Condition
from costguard_core.types import Attribution

ANSWER_TOKENS = 300  # assumed where a request sets no limit; for estimates of what a tier saves, never for money


@dataclass(frozen=True, slots=True)
class ChatRequest(Request):
    """A request that still knows its messages, in the framework's words."""

    messages: tuple[Any, ...] = ()


class Conversation(list[Any]):
    """What a condition is given: the list of messages, which also has what the router made of it.

    ``.text`` is what the user said last (the question alone, where the prompt came from a template with one), ``.tag``,
    ``.session``, ``.input_tokens``, ``.turns``, ``.tools``, ``.modalities`` and ``.phase`` are those of
    :class:`costguard_core.routing.Request`.
    """

    def __init__(self, request: Request) -> None:
        super().__init__(getattr(request, "messages", ()))
        self.request = request

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.request, name)


def chat_request(
    messages: Sequence[Any],
    told: Sequence[Message],
    attribution: Attribution,
    *,
    node: str | None = None,
    question: str | None = None,
    output_tokens: int | None = None,
    **facts: Any,
) -> ChatRequest:
    """What the router sees of messages.

    Args:
        messages: as the framework has them.
        told: the same in the router's words.
        attribution: its endpoint is the call site, else its template, its feature, or ``node``.
        node: of a graph, where the call was made.
        question: what the user asked, where the messages hold retrieved context as well.
        output_tokens: the request's own limit, if it has one.
        facts: ``tools``, ``structured`` and ``modalities`` of a :class:`Request`.
    """
    made = ChatRequest.of(
        told,
        tag=attribution.endpoint or attribution.template or attribution.feature or node,
        session=attribution.session,
        output_tokens=output_tokens or ANSWER_TOKENS,
        **facts,
    )
    made = replace(cast(ChatRequest, made), messages=tuple(messages))
    return made if question is None else replace(made, text=question)


def over_messages(ask: Callable[[Any], Any], name: str) -> Condition:
    """A condition over messages as one over requests, which reasons name ``name``.

    Raises:
        ConfigurationError: it is an ``async`` function.
    """
    asked = called_at_once(ask, "a condition")

    def holds(request: Request) -> bool:
        return bool(said_at_once(asked(Conversation(request))))

    holds.__name__ = name
    return holds
