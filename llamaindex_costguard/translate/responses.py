"""What an answer says about itself: usage, the model that gave it, why it ended, its text. Imports no integration."""

from __future__ import annotations

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, TextBlock, ToolCallBlock

from costguard_core import Usage
from costguard_core.usage.client_reports import answer_counts, answer_model, with_content
from costguard_core.usage.prompt_content import call_text, listed_calls
from costguard_core.usage.reader import read_usage
from costguard_core.usage.streamed_response import StreamedResponse
from costguard_core.usage.totals import latest_usage

Response = ChatResponse | CompletionResponse
RESPONSES = (ChatResponse, CompletionResponse)


def usage_of(response: Response, provider: str | None) -> Usage | None:
    """What the provider says was consumed, wherever its integration puts it; ``None`` if it says nothing."""
    extra = response.message.additional_kwargs if isinstance(response, ChatResponse) else {}
    if response.raw is None and not extra and not response.additional_kwargs:
        return None
    found = answer_counts(response.raw, provider)
    if extra.get("usage") is not None:  # Anthropic's streams: the last chunk alone does not know what the prompt cost
        said = read_usage(extra["usage"], provider=provider)
        found = said if found is None else found if said is None else latest_usage(found, said)
    if found is None and response.additional_kwargs:
        found = read_usage(response.additional_kwargs, provider=provider)
    if found is None or not (found.total_tokens or found.units):
        return None
    return with_content(found, response.raw)


def model_of(response: Response) -> str | None:
    """The model that the provider says it used."""
    return None if response.raw is None else answer_model(response.raw)


def part_usage(made: object) -> Usage | None:
    """What a part of a call consumed, as what an integration returned for it says; most of that are no responses."""
    return usage_of(made, None) if isinstance(made, RESPONSES) else None


def is_empty(response: Response) -> bool:
    """Whether nothing was said: no text, no tool call, no picture."""
    if isinstance(response, CompletionResponse):
        return not response.text.strip()
    extra = response.message.additional_kwargs
    if extra.get("tool_calls") or extra.get("function_call"):
        return False
    return not any(map(_says_something, response.message.blocks))


def text_of(response: Response) -> str:
    """All that was said, tool calls included: what to count when the provider reported nothing."""
    return response.text if isinstance(response, CompletionResponse) else message_text(response.message)


def message_text(message: ChatMessage) -> str:
    """The text of a message, its tool calls included."""
    blocks, extra = message.blocks, message.additional_kwargs
    if len(blocks) == 1 and isinstance(blocks[0], TextBlock) and not extra:
        return blocks[0].text
    text = "".join(_block_text(block) for block in blocks)
    if extra and not any(isinstance(block, ToolCallBlock) for block in blocks):
        text += listed_calls(extra)
    return text


class ResponseStream(StreamedResponse[Response]):
    """A stream of LlamaIndex's responses, of which each holds all of the text so far."""

    def kept(self, chunk: Response) -> Response:
        if isinstance(chunk, CompletionResponse):
            return chunk
        message = chunk.message.model_copy()
        message.blocks = list(message.blocks)
        copy = chunk.model_copy()
        copy.message = message
        return copy

    def reported(self, chunk: Response) -> Usage | None:
        return usage_of(chunk, self.provider)

    def said(self, chunk: Response) -> str:
        return text_of(chunk)


def _says_something(block: object) -> bool:
    if isinstance(block, TextBlock):
        return bool(block.text.strip())
    return bool(getattr(block, "block_type", "") != "thinking")


def _block_text(block: object) -> str:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ToolCallBlock):
        return call_text(block.tool_name, block.tool_kwargs)
    thought = getattr(block, "content", None)
    return thought if isinstance(thought, str) else ""
