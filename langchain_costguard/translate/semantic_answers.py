"""Semantic hits as LangChain generations, and LangChain generations as text to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from costguard_core import Outcome
from costguard_core.cache.keys import canonical
from costguard_core.cache.semantic.hit import SemanticHit
from costguard_core.types import usd
from langchain_costguard.translate.answers import MARK, decode


def marked(hit: SemanticHit) -> list[Generation]:
    """The generations of a hit: fresh copies, chat messages marked with where they came from."""
    payload = hit.answer.payload
    generations: list[Generation] = [seeded(payload)] if isinstance(payload, dict) else decode(payload)
    mark = {
        "cache": Outcome.SEMANTIC.value,
        "saved_usd": None if hit.answer.cost is None else format(usd(hit.answer.cost).normalize(), "f"),
        "similarity": round(hit.similarity, 4),
        "hit": hit.id,
    }
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            generation.message.response_metadata[MARK] = dict(mark)
    return generations


def seeded(payload: Mapping[str, Any]) -> ChatGeneration:
    """An answer that a person wrote, as a model would have given it."""
    return ChatGeneration(message=AIMessage(str(payload["text"]), id=f"lc_run--{uuid4()}"))


def calls_tools(generations: Sequence[Generation]) -> bool:
    """Whether the answer is a deed."""
    messages = (one.message for one in generations if isinstance(one, ChatGeneration))
    return any(getattr(message, "tool_calls", None) for message in messages)


def said(generations: Sequence[Generation]) -> str:
    """What an answer says, for comparing: its text, and its tool calls in one spelling."""
    parts = [generation.text for generation in generations]
    for generation in generations:
        calls = getattr(generation.message, "tool_calls", None) if isinstance(generation, ChatGeneration) else None
        if calls:
            parts.append(canonical([[call["name"], call["args"]] for call in calls]))
    return "\n".join(part for part in parts if part)


def hit_name(hit: Any) -> str | None:
    if isinstance(hit, str):
        return hit
    mark = getattr(hit, "response_metadata", {}).get(MARK, {})
    name = mark.get("hit")
    return name if isinstance(name, str) else None
