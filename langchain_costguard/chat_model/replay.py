"""Answers that no provider was asked for: cache hits and static replies, as results and as streams."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from costguard_core.types import MARK
from costguard_core.util.streams import pieces_of


def replayed_chunks(generations: Sequence[ChatGeneration]) -> Iterator[ChatGenerationChunk]:
    """A hit as a stream: the text in pieces, then one last chunk with everything else. A static reply is one chunk."""
    for generation in generations[:1]:
        message = generation.message
        assert isinstance(message, AIMessage)
        text = message.content
        if isinstance(text, str) and "refused" not in message.response_metadata.get(MARK, {}):
            for piece in pieces_of(text):
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
            text = ""
        yield ChatGenerationChunk(message=_last_chunk(message, text), generation_info=generation.generation_info)


def _last_chunk(message: AIMessage, content: str | list[str | dict[str, object]]) -> AIMessageChunk:
    calls = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=index)
        for index, call in enumerate(message.tool_calls)
    ]
    return AIMessageChunk(
        content=content,
        tool_call_chunks=calls,
        additional_kwargs=message.additional_kwargs,
        response_metadata=message.response_metadata,
        usage_metadata=message.usage_metadata,
        chunk_position="last",
    )
