"""What the answers of a provider's client say of one call, for integrations that keep only a part of them.

An answer is what the client returns: a whole response, or the chunks of a stream, as dicts or objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from costguard_core.types import Usage
from costguard_core.usage.answer_fees import add_answer_fees, shown_beside
from costguard_core.usage.fields import get
from costguard_core.usage.google import merged_grounding
from costguard_core.usage.openai import with_preview_searches
from costguard_core.usage.reader import read_usage
from costguard_core.usage.totals import latest_usage, sum_usage

_MODELS = ("model", "model_name", "model_version", "modelId")
_IDS = ("id", "response_id")
# Where an answer may have its usage: most chunks of a stream have none of them, and are not looked at further.
_USAGE_PARTS = (
    *("usage", "usage_metadata", "metadata", "meta", "message", "response", "prompt_eval_count", "x_groq", "details"),
    "usage_info",
)
# A chunk of a stream may have the answer inside: Anthropic's and OpenAI's events, Mistral's and Cohere's, and those of
# OpenAI's client for streams of objects.
_INSIDE = ("message", "response", "data", "chunk")


def answer_usage(answer: object, provider: str | None) -> Usage | None:
    """What an answer says that it consumed, with fees that only its content shows; ``None`` if it says nothing."""
    usage = answer_counts(answer, provider)
    return None if usage is None else with_content(usage, answer)


def answer_counts(answer: object, provider: str | None) -> Usage | None:
    """What an answer says that it consumed, without such fees."""
    if answer is None or isinstance(answer, (str, bytes, list)):
        return None
    if all(get(answer, name) is None for name in _USAGE_PARTS):
        return None
    return read_usage(answer, provider=provider) or read_usage(get(answer, "metadata"), provider=provider)


def with_content(usage: Usage, answer: object) -> Usage:
    """With searches and other units that only the answer's own items show, and the id that the provider gave it."""
    identity = _text(answer, _IDS)
    if identity is not None:
        usage = replace(usage, request_id=identity)
    model = answer_model(answer) or ""
    usage = with_preview_searches(usage, answer, model) if get(answer, "output") else usage
    return add_answer_fees(usage, _blocks(answer), shown_beside(answer), model)


def answer_model(answer: object) -> str | None:
    """The model that the provider says it used."""
    return _text(answer, _MODELS)


class ClientReports:
    """What one call consumed, as its client was told: answers are added, chunks of one stream are one answer.

    Args:
        provider: whose usage it is.
    """

    __slots__ = ("_answers", "_provider")

    def __init__(self, provider: str | None) -> None:
        self._provider = provider
        self._answers: list[Answer] = []

    def add(self, answer: object) -> None:
        """A whole response."""
        self.stream().add(answer)

    def stream(self) -> Answer:
        """An answer whose chunks are still to come."""
        begun = Answer(self._provider)
        self._answers.append(begun)
        return begun

    @property
    def usage(self) -> Usage | None:
        """``None``: no answer said anything."""
        found = [usage for answer in self._answers if (usage := answer.usage) is not None]
        if len(found) < 2:
            return found[0] if found else None
        passes = tuple(one for usage in found for one in usage.passes or (usage,))
        return replace(reduce(sum_usage, found), passes=passes)

    @property
    def model(self) -> str | None:
        """The model that the last answer names."""
        return next((answer.model for answer in reversed(self._answers) if answer.model is not None), None)


NO_REPORTS = ClientReports(None)
"""Of a client that is not recorded."""


class Answer:
    """One answer of a client. ``model`` is the one that it names."""

    __slots__ = ("_blocks", "_id", "_line", "_provider", "_reported", "_shown", "model")

    def __init__(self, provider: str | None) -> None:
        self._provider = provider
        self._reported: Usage | None = None
        self._blocks: list[Any] = []
        self._shown: list[dict[str, Any]] = []
        self._id: str | None = None
        self._line = ""
        self.model: str | None = None

    def stream(self) -> Answer:
        """Itself: what a stream says in other words is the same answer."""
        return self

    def add(self, chunk: object) -> None:
        """The next chunk, or the only one; the next piece of the body, if that is what a client hands out."""
        if isinstance(chunk, str):
            *lines, self._line = (self._line + chunk).split("\n")
            for line in lines:
                self.add(_event(line))
            return
        block = get(chunk, "content_block")  # Anthropic's streams show hosted tools there and nowhere else
        if block is not None:
            self._blocks.append(block)
            return
        usage = None
        for part in (*(get(chunk, name) for name in _INSIDE), chunk):
            if part is not None:
                self.model = self.model or answer_model(part)
                self._id = self._id or _text(part, _IDS)
                usage = usage or answer_usage(part, self._provider)
                if found := shown_beside(part):  # streams may show it in another chunk than the usage
                    self._shown.append(found)
        if usage is not None:
            self._reported = usage if self._reported is None else latest_usage(self._reported, usage)

    @property
    def usage(self) -> Usage | None:
        """``None``: no chunk said anything so far."""
        if self._reported is None:
            return None
        usage = replace(self._reported, request_id=self._id or self._reported.request_id)
        return add_answer_fees(usage, self._blocks, _merged(self._shown), self.model or "")


Reports = ClientReports | Answer
"""Where a client's answers go to."""


def _blocks(answer: object) -> Sequence[Any]:
    """The blocks of a message, or the items of a response's output."""
    found = get(answer, "content") or get(answer, "output")
    return found if isinstance(found, (list, tuple)) else ()


def _event(line: str) -> Any:
    """What a line of server-sent events says of the usage; ``None`` for most: https://html.spec.whatwg.org (9.2)."""
    if not line.startswith("data:") or '"usage"' not in line:
        return None
    try:
        return json.loads(line[5:])
    except ValueError:
        return None


def _merged(shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What several chunks of one answer show, as one answer would."""
    merged = {name: found for one in shown for name, found in one.items()}
    if "grounding_metadata" in merged:
        merged["grounding_metadata"] = merged_grounding(one.get("grounding_metadata") for one in shown)
    if "executed_tools" in merged:
        merged["executed_tools"] = [tool for one in shown for tool in one.get("executed_tools") or ()]
    return merged


def _text(answer: object, names: Iterable[str]) -> str | None:
    for name in names:
        found = get(answer, name)
        if isinstance(found, str) and found:
            return found
    return None
