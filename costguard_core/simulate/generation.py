"""A request with what was answered, ready to be written in the words of any endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from costguard_core.simulate.replies import Reply
from costguard_core.simulate.request import GenerationRequest


@dataclass(frozen=True, slots=True)
class Generation:
    """A :class:`GenerationRequest` with its replies and what else the response says. ``created`` is unix seconds."""

    id: str
    created: int
    request: GenerationRequest
    replies: Sequence[Reply]
    prompt_tokens: int
    cached_tokens: int = 0
    tier: str = "default"

    @property
    def output_tokens(self) -> int:
        return sum(reply.tokens for reply in self.replies)

    @property
    def reasoning_tokens(self) -> int:
        return sum(reply.reasoning for reply in self.replies)
