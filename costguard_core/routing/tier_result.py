"""The answer of one tier in framework-neutral terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from costguard_core.routing.checks.verify import Answer
from costguard_core.types import Usage


class TierResult(NamedTuple):
    """What a cascade needs to know of the answer of one tier.

    Attributes:
        answer: what checks look at.
        usage: what was used for it; ``None``: unknown, or nothing.
        refused: it is the static reply of a budget that refused the call; no model was asked.
        downgrade: the budget that refused wants a cheaper tier to answer (``on_exceed="downgrade"``).
        from_cache: a cache answered; no model was asked.
        unparsed: structured output was asked for, and this does not fit its schema.
        full_text: the whole answer as text, with calls of tools, where that is more than the text of ``answer``.
    """

    answer: Answer
    usage: Usage | None = None
    refused: bool = False
    downgrade: bool = False
    from_cache: bool = False
    unparsed: bool = False
    full_text: str | None = None

    @classmethod
    def of(
        cls,
        answer: Answer,
        usage: Usage | None,
        mark: Mapping[str, object],
        *,
        unparsed: bool = False,
        full_text: str | None = None,
    ) -> TierResult:
        """The result that a framework's answer with this ``mark`` is: what Costguard wrote into its metadata."""
        refused = "refused" in mark
        return cls(
            answer,
            usage,
            refused=refused,
            downgrade=refused and mark.get("on_exceed") == "downgrade",
            from_cache="cache" in mark,
            unparsed=unparsed,
            full_text=full_text,
        )

    @property
    def text(self) -> str:
        """The whole answer as text."""
        return self.answer.text if self.full_text is None else self.full_text
