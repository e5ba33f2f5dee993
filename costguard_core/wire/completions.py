"""OpenAI's older completions: https://platform.openai.com/docs/api-reference/completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from costguard_core.wire.base import Assembly, Body, Prompt, mappings, positive
from costguard_core.wire.chat import ChatAssembly, ChatFormat
from costguard_core.wire.sse import DONE, event_of


class CompletionFormat(ChatFormat):
    path = "/v1/completions"
    kind = "completion"

    def prompt(self, body: Body) -> Prompt:
        given: Any = body.get("prompt")
        prompts = given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]
        tokens = sum(len(one) for one in prompts if isinstance(one, list))
        texts = [str(one) for one in prompts if isinstance(one, str)]
        suffix = body.get("suffix")
        texts += [suffix] if isinstance(suffix, str) else []
        question = texts[0] if len(texts) == 1 else ""
        return Prompt([("user", text, None) for text in texts], (), question, tokens or None)

    def limit(self, body: Body) -> int | None:
        return positive(body.get("max_tokens")) or 16  # the default of the API

    def with_limit(self, body: Body, tokens: int) -> dict[str, Any]:
        return {**body, "max_tokens": tokens}

    def assembly(self) -> Assembly:
        return ChatAssembly("text_completion")

    def events(self, response: Body, *, with_usage: bool) -> Iterator[bytes]:
        head = {name: value for name, value in response.items() if name not in ("choices", "usage")}
        for choice in mappings(response.get("choices")):
            yield event_of({**head, "choices": [choice], **({"usage": None} if with_usage else {})})
        if with_usage:
            yield event_of({**head, "choices": [], "usage": response.get("usage")})
        yield DONE

    def text(self, response: Body) -> str:
        return "".join(str(choice.get("text") or "") for choice in mappings(response.get("choices")))

    def choices(self, body: Body) -> int:
        prompts = body.get("prompt")
        several = len(prompts) if isinstance(prompts, list) and not all(isinstance(p, int) for p in prompts) else 1
        return max(positive(body.get("n")) or 1, positive(body.get("best_of")) or 1) * several

    def refused(self, response: Body) -> bool:
        return False

    def blocks(self, response: Body) -> Sequence[Any]:
        return ()

    def static(self, model: str, text: str, *, id: str, now: int) -> dict[str, Any] | None:
        return {
            "id": id,
            "object": "text_completion",
            "created": now,
            "model": model,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }


COMPLETIONS = CompletionFormat()
