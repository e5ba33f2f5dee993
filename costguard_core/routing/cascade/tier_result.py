"""What one call to a tier brought, in words that no framework has a part in."""

from __future__ import annotations

from typing import NamedTuple

from costguard_core.routing import Answer
from costguard_core.types import Usage


class Brought(NamedTuple):
    """What one call brought, as far as the way depends on it.

    ``usage`` is what was used for it (``None``: nobody knows, or nothing was). ``from_budget``: it is the static reply
    of a budget that refused, and nobody was asked; ``gives_way``: that budget would rather have a cheaper tier answer.
    ``from_cache``: nobody was asked just now. ``unparsed``: structured output that does not fit its schema. ``said`` is
    all of it as text, calls of tools included, where that is more than the text of ``answer``.
    """

    answer: Answer
    usage: Usage | None = None
    from_budget: bool = False
    gives_way: bool = False
    from_cache: bool = False
    unparsed: bool = False
    said: str | None = None

    @property
    def text(self) -> str:
        """All that was said."""
        return self.answer.text if self.said is None else self.said
