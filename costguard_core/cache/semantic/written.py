"""Answers that a person wrote, as both adapters store and serve them."""

from __future__ import annotations

from typing import Any

from costguard_core.cache.answer import Answer

_TEXT = "text"


def written_answer(text: str) -> Answer:
    """An answer that a person wrote."""
    return Answer(payload={_TEXT: text}, finish=("stop",))


def written_text(payload: Any) -> str | None:
    """The text in the payload of a :func:`written_answer`; ``None`` for an answer that a model gave."""
    return payload[_TEXT] if isinstance(payload, dict) and payload.keys() == {_TEXT} else None
