"""A request as scorers see it: the framework's messages translated into plain values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, cast

from costguard_core.types import Attribution

CHARACTERS_PER_TOKEN = 4
"""Of English prose, OpenAI's rule of thumb (https://help.openai.com/en/articles/4936856); for routing, never for money.
"""
ASSUMED_OUTPUT_TOKENS = 300
"""Length of an answer whose request sets no limit (a choice); for estimates of what a tier saves, never for money."""


_FRAMING_TOKENS = 16  # of a message besides its text, at the most (a choice; OpenAI's models have 3 or 4)


class Message(NamedTuple):
    """One message of a conversation.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``.
        text: what it says.
        failed: it is the result of a tool that failed.
    """

    role: str
    text: str
    failed: bool = False


class Phase(StrEnum):
    """What the last message is: somebody's question, the result of a tool, or its failure."""

    USER = "user"
    TOOL = "tool"
    TOOL_ERROR = "tool error"


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


@dataclass(frozen=True, slots=True)
class Request:
    """One request to be routed.

    Attributes:
        text: the last thing that the user said, which is what scorers read.
        tag: names the call site: an endpoint, a prompt template, a node of a graph. Where traffic mixes tasks it is the
            strongest signal there is.
        session: the conversation that the request belongs to.
        input_tokens: tokens of the whole prompt, with history and tools.
        output_tokens: tokens that the answer is expected to have.
        prefix_tokens: tokens before the last message: what the provider's prompt cache holds while it is warm.
        turns: how many messages the user wrote before this one.
        tools: how many tools the model may call.
        structured: the answer must fit a schema.
        modalities: what the prompt holds besides text: ``"image"``, ``"audio"``, ``"video"``, ``"pdf"``.
        phase: where in an agent's loop the request stands.
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
        """The request that a list of messages makes. Tokens are estimated from its length when they are not given."""
        conversation = (Message("user", messages),) if isinstance(messages, str) else tuple(messages)
        total = estimated_tokens(sum(len(m.text) for m in conversation)) if input_tokens is None else input_tokens
        last = conversation[-1] if conversation else Message("user", "")
        return cls(
            text=_question(conversation),
            tag=tag,
            session=session,
            input_tokens=total,
            output_tokens=output_tokens,
            prefix_tokens=max(0, total - estimated_tokens(len(last.text))),
            turns=max(0, sum(m.role == "user" for m in conversation) - 1),
            tools=tools,
            structured=structured,
            modalities=frozenset(modalities) - {"text"},
            phase=_phase(last),
        )


@dataclass(frozen=True, slots=True)
class ChatRequest(Request):
    """A request that also holds the framework's own messages, for conditions over them.

    Attributes:
        messages: as the framework has them.
    """

    messages: tuple[object, ...] = ()


def chat_request(
    messages: Sequence[object],
    translated: Sequence[Message],
    attribution: Attribution,
    *,
    node: str | None = None,
    question: str | None = None,
    output_tokens: int | None = None,
    tools: int = 0,
    structured: bool = False,
    modalities: Iterable[str] = (),
) -> ChatRequest:
    """The request that a framework's messages make.

    Args:
        messages: as the framework has them.
        translated: the same messages, as :class:`Message`.
        attribution: its endpoint is the call site, else its template, else its feature.
        node: the node of a graph that makes the call: the call site where the attribution names none.
        question: what the user asked, where the messages also hold retrieved context.
        output_tokens: the request's own limit, if it has one.
        tools, structured, modalities: as in :class:`Request`.
    """
    request = ChatRequest.of(
        translated,
        tag=attribution.endpoint or attribution.template or attribution.feature or node,
        session=attribution.session,
        output_tokens=output_tokens or ASSUMED_OUTPUT_TOKENS,
        tools=tools,
        structured=structured,
        modalities=modalities,
    )
    complete = replace(cast(ChatRequest, request), messages=tuple(messages))
    return complete if question is None else replace(complete, text=question)


def estimated_tokens(characters: int) -> int:
    """Tokens in that many characters, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def most_tokens(texts: Iterable[str]) -> int:
    """More tokens than messages with these texts have (one for two bytes), to be reserved and settled afterwards."""
    return sum(len(text.encode("utf-8", "replace")) // 2 + _FRAMING_TOKENS for text in texts)


def _question(messages: Sequence[Message]) -> str:
    """What the user said last; of a conversation without a user, its last message."""
    from_user = (m.text for m in reversed(messages) if m.role == "user")
    return next(from_user, messages[-1].text if messages else "")


def _phase(last: Message) -> Phase:
    if last.role != "tool":
        return Phase.USER
    return Phase.TOOL_ERROR if last.failed else Phase.TOOL


def block_types(contents: Iterable[object]) -> Iterator[str]:
    """The types of the blocks of messages; a content that is a text has none."""
    for content in contents:
        for block in content if isinstance(content, list) else ():
            if isinstance(block, Mapping):
                yield str(block.get("type"))


def modalities_of(types: Iterable[str]) -> set[str]:
    """What a prompt holds besides text, by the types of its blocks of content in LangChain, LlamaIndex and the APIs."""
    return {_MODALITIES[name] for name in types if name in _MODALITIES}
