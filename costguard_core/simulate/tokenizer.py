"""Token counts of the simulated provider: the very functions that Costguard reserves with, so both agree."""

from __future__ import annotations

from costguard_core.simulate.request import GenerationRequest
from costguard_core.usage.token_counter import TokenCounter


class Tokenizer:
    """Counts texts and whole prompts."""

    def __init__(self, counter: TokenCounter | None = None) -> None:
        self._counter = counter or TokenCounter()

    def __call__(self, model: str, text: str) -> int:
        return self._counter.count(text, model=model).tokens if text else 0

    def prompt(self, request: GenerationRequest) -> int:
        """Tokens of a chat prompt, with OpenAI's overhead per message."""
        tools = request.tools_json or None
        counted = self._counter.count_chat(
            request.messages, model=request.model, tools_json=tools, images=request.images
        )
        return counted.tokens
