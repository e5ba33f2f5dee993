"""What the router sees of a call, in framework-neutral terms: the adapters fill it in, the scorers read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

CHARACTERS_PER_TOKEN = 4  # of English prose; only used where nobody counted


class Message(NamedTuple):
    """One message. ``role``: ``"system"``, ``"user"``, ``"assistant"``, ``"tool"``; ``failed`` is for tool results."""

    role: str
    text: str
    failed: bool = False


class Phase(StrEnum):
    """Where in an agent's loop the call stands: it answers a person, digests a tool result, or recovers from one."""

    USER = "user"
    TOOL = "tool"
    TOOL_ERROR = "tool error"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to route.

    ``text`` is the last thing the user said: what the scorers read. ``tag`` names the call site (an endpoint, a
    prompt template, a node of a graph): the strongest signal there is when traffic mixes tasks. ``input_tokens`` is
    the whole prompt including history and tools. ``turns`` counts the user's messages before this one.
    ``prefix_tokens`` is what a warm provider prompt cache would hold. ``modalities`` are those the prompt contains
    besides text.
    """

    text: str
    tag: str | None = None
    session: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    prefix_tokens: int = 0
    turns: int = 0
    tools: int = 0
    structured: bool = False
    modalities: frozenset[str] = frozenset()
    phase: Phase = Phase.USER

    @classmethod
    def of(
        cls,
        messages: Sequence[Message] | str,
        *,
        tag: str | None = None,
        session: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int = 0,
        tools: int = 0,
        structured: bool = False,
        modalities: Iterable[str] = (),
    ) -> Request:
        """The request that a list of messages makes. Tokens are estimated from the length when they are not given."""
        given = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        total = estimated_tokens(sum(len(m.text) for m in given)) if input_tokens is None else input_tokens
        last = given[-1] if given else Message("user", "")
        return cls(
            text=_question(given),
            tag=tag,
            session=session,
            input_tokens=total,
            output_tokens=output_tokens,
            prefix_tokens=max(0, total - estimated_tokens(len(last.text))),
            turns=max(0, sum(m.role == "user" for m in given) - 1),
            tools=tools,
            structured=structured,
            modalities=frozenset(modalities) - {"text"},
            phase=_phase(last),
        )


def estimated_tokens(characters: int) -> int:
    """Tokens in that many characters, rounded up. A rule of thumb for routing, never for money."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def _question(messages: Sequence[Message]) -> str:
    spoken = (m.text for m in reversed(messages) if m.role == "user")
    return next(spoken, messages[-1].text if messages else "")


def _phase(last: Message) -> Phase:
    if last.role != "tool":
        return Phase.USER
    return Phase.TOOL_ERROR if last.failed else Phase.TOOL
