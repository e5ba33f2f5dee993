"""OpenAI's embeddings: https://platform.openai.com/docs/api-reference/embeddings. They are never streamed."""

from __future__ import annotations

from typing import Any

from costguard_core.wire.base import Body, Prompt, Said, WireFormat


class EmbeddingFormat(WireFormat):
    path = "/v1/embeddings"
    kind = "embedding"
    streams = False
    asked_in = frozenset(("input",))

    def prompt(self, body: Body) -> Prompt:
        given: Any = body.get("input")
        inputs = given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]
        tokens = sum(len(one) for one in inputs if isinstance(one, list))
        return Prompt([Said("", one) for one in inputs if isinstance(one, str)], "", tokens)

    def text(self, response: Body) -> str:
        return ""


EMBEDDINGS = EmbeddingFormat()
