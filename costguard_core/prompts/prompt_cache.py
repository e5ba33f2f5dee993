"""Keeping the provider's prompt cache warm: what changes from call to call in a prompt's prefix, and where to mark it.

Providers bill a repeated prefix at a tenth to a half of its price, but only up to the first token that differs:
https://platform.openai.com/docs/guides/prompt-caching,
https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from costguard_core.prompts.compression import Count, counted
from costguard_core.routing.request import Message

MAX_BREAKPOINTS = 4  # in one request to Anthropic (its documentation above)
MIN_CACHED_TOKENS = 1024  # of a prefix that OpenAI and most Anthropic models cache (their documentation above)

_VOLATILE: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a UUID", re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE)),
    ("a time stamp", re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d")),
    ("a date", re.compile(r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}[./]\d{1,2}[./]\d{4}\b")),
    ("a date", re.compile(r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.? \d{1,2},? \d{4}\b")),
    ("a time of day", re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?\s*(?:am|pm|UTC|Z)?\b", re.IGNORECASE)),
    (
        "a request or session id",
        re.compile(r"\b(?:request|session|trace|run|thread)[ _-]?id\b\W{0,3}\w+", re.IGNORECASE),
    ),
    ("unix time", re.compile(r"\b1[6-9]\d{8}(?:\d{3})?\b")),
)


class Finding(NamedTuple):
    """Something in a prompt that changes from call to call. Its text is not repeated.

    Attributes:
        message: index of the message that holds it.
        position: index of its first character there.
        kind: what it is, e.g. ``"a date"``.
        lost_tokens: how many tokens behind it cannot be cached.
    """

    message: int
    position: int
    kind: str
    lost_tokens: int

    def __str__(self) -> str:
        return (
            f"message {self.message}, character {self.position}: {self.kind}; "
            f"{self.lost_tokens} tokens behind it cannot be cached. Move it to the end of the prompt"
        )


@dataclass(frozen=True, slots=True)
class Lint:
    """What defeats the prompt cache in one request.

    Attributes:
        findings: in the order of the prompt.
        shared_tokens: tokens of the prefix that the request before had too; ``None``: there was none.
        total_tokens: of the prompt.
        differs_at: index of the message and of the character at which the two part.
    """

    findings: tuple[Finding, ...]
    shared_tokens: int | None = None
    total_tokens: int = 0
    differs_at: tuple[int, int] | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def stable_first(
    messages: Sequence[Message], *, previous: Sequence[Message] | None = None, count: Count = counted
) -> Lint:
    """Find what defeats the prompt cache. Nothing is rewritten.

    Args:
        messages: a request's messages, the system prompt first. The last one is the question and may change.
        previous: the request before it from the same call site; then the first differing character is reported too.
    """
    stable = messages[:-1] if len(messages) > 1 else messages
    findings = tuple(
        Finding(index, found.start(), kind, _behind(stable, index, found.start(), count))
        for index, message in enumerate(stable)
        if message.role in ("system", "tool") or index == 0
        for kind, found in _volatile(message.text)
    )
    total = sum(count(message.text) for message in messages)
    if previous is None:
        return Lint(findings, total_tokens=total)
    index, position = first_difference(previous, messages)
    shared = sum(count(m.text) for m in messages[:index])
    inside = count(messages[index].text[:position]) if index < len(messages) else 0
    return Lint(findings, shared + inside, total, (index, position))


def first_difference(one: Sequence[Message], other: Sequence[Message]) -> tuple[int, int]:
    """Message index and character at which two prompts part; ``(len, 0)`` of the shorter when one begins the other."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    if same == min(len(one), len(other)) or one[same].role != other[same].role:
        return same, 0
    pairs = zip(one[same].text, other[same].text, strict=False)
    return same, sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def breakpoints(
    messages: Sequence[Message], *, tools_tokens: int = 0, minimum: int = MIN_CACHED_TOKENS, count: Count = counted
) -> tuple[int, ...]:
    """Where to put Anthropic's ``cache_control`` marks: after which messages (-1: after the tools), at most four.

    After the tools, after the system prompt, and after the last message before the question, each only when the prefix
    up to it is long enough to be cached at all.
    """
    sizes = [count(message.text) for message in messages]
    systems = [index for index, message in enumerate(messages) if message.role == "system"]
    wanted = [-1] * (tools_tokens > 0) + systems[-1:] + [len(messages) - 2] * (len(messages) > 1)
    long_enough = {place for place in wanted if tools_tokens + sum(sizes[: place + 1]) >= minimum}
    return tuple(sorted(long_enough))[-MAX_BREAKPOINTS:]


def _volatile(text: str) -> list[tuple[str, re.Match[str]]]:
    """The first match of each kind, in order, without a date inside a time stamp and the like."""
    found = [(kind, match) for kind, pattern in _VOLATILE if (match := pattern.search(text))]
    found.sort(key=lambda item: (item[1].start(), -item[1].end()))
    kept: list[tuple[str, re.Match[str]]] = []
    for kind, match in found:
        if not kept or match.start() >= kept[-1][1].end():
            kept.append((kind, match))
    return kept


def _behind(messages: Sequence[Message], index: int, position: int, count: Count) -> int:
    return count(messages[index].text[position:]) + sum(count(m.text) for m in messages[index + 1 :])
