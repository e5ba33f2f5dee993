"""OpenAI's older completions: https://platform.openai.com/docs/api-reference/completions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from costguard_core.usage.parameters import positive
from costguard_core.wire.base import Assembly, Body, Prompt, Said, mappings
from costguard_core.wire.chat import ChatAssembly, ChatFormat
from costguard_core.wire.sse import DONE, event_of


class CompletionFormat(ChatFormat):
    path = "/v1/completions"
    kind = "completion"

    asked_in = frozenset(("prompt", "suffix"))

    def prompt(self, body: Body) -> Prompt:
        given: Any = body.get("prompt")
        prompts = given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]
        tokens = sum(len(one) for one in prompts if isinstance(one, list))
        texts = [str(one) for one in prompts if isinstance(one, str)]
        suffix = body.get("suffix")
        texts += [suffix] if isinstance(suffix, str) else []
        return Prompt([Said("user", text) for text in texts], texts[0] if len(texts) == 1 else "", tokens)

    def with_question(self, body: Body, text: str) -> dict[str, object]:
        return {**body, "prompt": text}

    def parameters(self, body: Body) -> dict[str, Any]:
        limit = positive(body.get("max_tokens")) or 16  # the default of the API
        return {**super().parameters(body), "max_tokens": limit, "n": self.choices(body)}

    def with_limit(self, body: Body, tokens: int) -> dict[str, object]:
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
        return max(positive(body.get("n")) or 1, positive(body.get("best_of")) or 1) * _prompts(body)

    def is_whole(self, body: Body, response: Body) -> bool:
        return len(mappings(response.get("choices"))) >= (positive(body.get("n")) or 1) * _prompts(body)

    def refused(self, response: Body) -> bool:
        return False

    def blocks(self, response: Body) -> Sequence[object]:
        return ()

    def static(self, model: str, text: str, *, id: str, now: int) -> dict[str, object] | None:
        return {
            "id": id,
            "object": "text_completion",
            "created": now,
            "model": model,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        }


def _prompts(body: Body) -> int:
    """How many prompts a request has."""
    given = body.get("prompt")
    return len(given) if isinstance(given, list) and not all(isinstance(one, int) for one in given) else 1


COMPLETIONS = CompletionFormat()
