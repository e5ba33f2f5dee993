"""OpenAI's older text completions on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.simulate.ask import Ask, BadRequestError, Message, positive, required_text, stops
from costguard_core.simulate.counting import pieces_of
from costguard_core.simulate.wire import Answered

Json = dict[str, Any]


def read(body: Mapping[str, Any]) -> Ask:
    """Understand a request body. Several prompts are answered like one prompt that holds them all."""
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise BadRequestError("'prompt' must be a string or a list of strings", "prompt")
    return Ask(
        model=required_text(body, "model"),
        messages=tuple(Message("user", p) for p in prompts),
        choices=len(prompts) * (positive(body, "n") or 1),
        stop=stops(body),
        max_tokens=positive(body, "max_tokens") or 16,
        seed=body.get("seed"),
    )


def response(answered: Answered) -> Json:
    """The body of an answer that is not streamed."""
    choices = [_choice(index, reply.text, reply.finish) for index, reply in enumerate(answered.replies)]
    return {**_head(answered), "choices": choices, "usage": usage(answered)}


def events(answered: Answered, *, include_usage: bool) -> Iterator[Json]:
    """The chunks of a streamed answer."""
    head = _head(answered)
    usually = {"usage": None} if include_usage else {}
    for index, reply in enumerate(answered.replies):
        for piece in pieces_of(reply.text):
            yield {**head, "choices": [_choice(index, piece, None)], **usually}
        yield {**head, "choices": [_choice(index, "", reply.finish)], **usually}
    if include_usage:
        yield {**head, "choices": [], "usage": usage(answered)}


def usage(answered: Answered) -> Json:
    total = answered.prompt_tokens + answered.output_tokens
    return {
        "prompt_tokens": answered.prompt_tokens,
        "completion_tokens": answered.output_tokens,
        "total_tokens": total,
    }


def _choice(index: int, text: str, finish: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _head(answered: Answered) -> Json:
    return {
        "id": f"cmpl-{answered.id}",
        "object": "text_completion",
        "created": answered.created,
        "model": answered.ask.model,
    }
