"""OpenAI's older text completions as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.simulate.counting import pieces_of
from costguard_core.simulate.generation import Generation
from costguard_core.simulate.request import BadRequestError, GenerationRequest, Message, positive, required_text, stops

Json = dict[str, Any]


def read(body: Mapping[str, Any]) -> GenerationRequest:
    """Understand a request body. Several prompts are answered like one prompt that holds them all."""
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise BadRequestError("'prompt' must be a string or a list of strings", "prompt")
    return GenerationRequest(
        model=required_text(body, "model"),
        messages=tuple(Message("user", p) for p in prompts),
        choices=len(prompts) * (positive(body, "n") or 1),
        stop=stops(body),
        max_tokens=positive(body, "max_tokens") or 16,
        seed=body.get("seed"),
    )


def response(generation: Generation) -> Json:
    """The body of an answer that is not streamed."""
    choices = [_choice(index, reply.text, reply.finish) for index, reply in enumerate(generation.replies)]
    return {**_head(generation), "choices": choices, "usage": usage(generation)}


def events(generation: Generation, *, include_usage: bool) -> Iterator[Json]:
    """The chunks of a streamed answer."""
    head = _head(generation)
    without_usage = {"usage": None} if include_usage else {}
    for index, reply in enumerate(generation.replies):
        for piece in pieces_of(reply.text):
            yield {**head, "choices": [_choice(index, piece, None)], **without_usage}
        yield {**head, "choices": [_choice(index, "", reply.finish)], **without_usage}
    if include_usage:
        yield {**head, "choices": [], "usage": usage(generation)}


def usage(generation: Generation) -> Json:
    total = generation.prompt_tokens + generation.output_tokens
    return {
        "prompt_tokens": generation.prompt_tokens,
        "completion_tokens": generation.output_tokens,
        "total_tokens": total,
    }


def _choice(index: int, text: str, finish: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _head(generation: Generation) -> Json:
    return {
        "id": f"cmpl-{generation.id}",
        "object": "text_completion",
        "created": generation.created,
        "model": generation.request.model,
    }
