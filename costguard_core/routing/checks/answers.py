"""What an answer says: its final result, whether it refused or broke off, and features for a scorer that reads it."""

from __future__ import annotations

import re
from math import log1p

from costguard_core.routing.checks.arithmetic import sums

HEAD, TAIL = 4000, 4000  # characters that are read of a long answer, at its two ends (a choice)

_MARKED = (
    re.compile(r"####\s*(.+)"),
    re.compile(r"\\boxed\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"),
    re.compile(r"(?i:\b(?:final\s+)?answer\s*(?:is|:|=)\s*)\**\s*([^\n]{1,200})"),
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_UNABLE = r"\b(?:can\W?t|cannot|can\s+not|unable|not\s+able)\b"
_REFUSAL = re.compile(
    rf"^\W*(?:(?:i\W?m\s+|i\s+am\s+|we\s+are\s+)?(?:very\s+)?(?:sorry|afraid)\b.{{0,80}}{_UNABLE}"
    rf"|(?:unfortunately\W+)?i\s+(?:am\s+)?{_UNABLE}"
    r"|(?:unfortunately\W+)?i\s+(?:won\W?t|do\s+not\s+know|don\W?t\s+know)\b"
    r"|as\s+an\s+ai\b)",
    re.IGNORECASE | re.DOTALL,
)
_ENDS = tuple(".!?:;)]}\"'`*|>…。！？」』")

ANSWER_FEATURES: tuple[str, ...] = (
    "answer length",
    "answer lines",
    "no final answer",
    "no final number",
    "not a whole number",
    "negative number",
    "sums",
    "wrong sums",
    "any wrong sum",
    "refusal",
    "broken off",
    "hedging",
    "repetition",
)
_HEDGES = re.compile(
    r"\b(?:maybe|perhaps|possibly|probably|might|not sure|unclear|assum\w+|approximately|seems?)\b", re.IGNORECASE
)


def excerpt(answer: str) -> str:
    """The part of an answer that is read."""
    return answer if len(answer) <= HEAD + TAIL else f"{answer[:HEAD]}\n{answer[-TAIL:]}"


def final_answer(answer: str) -> str | None:
    """What the answer marks as its result: after ``####``, in ``\\boxed{}``, or behind "the answer is"."""
    text = excerpt(answer)
    for mark in _MARKED:
        found = mark.findall(text)
        if found:
            return str(found[-1]).strip() or None
    return None


def final_number(answer: str) -> float | None:
    """The number in the marked result, or ``None``."""
    marked = final_answer(answer)
    return None if marked is None else number_in(marked)


def number_in(text: str) -> float | None:
    """The first number of a text: ``$1,200.50`` is 1200.5, ``3/4`` is 0.75."""
    found = _NUMBER.search(text.replace("\\frac", "").replace("\\!", "").replace("{,}", ","))
    if found is None:
        return None
    top, _, bottom = found[0].replace(",", "").partition("/")
    try:
        return float(top) / float(bottom) if bottom else float(top)
    except (ZeroDivisionError, OverflowError):
        return None


def refuses(answer: str) -> bool:
    """Whether the answer opens as a refusal ("I'm sorry, but I can't ..."). English phrases only."""
    return bool(_REFUSAL.match(answer[:300]))


def broken_off(answer: str) -> bool:
    """Whether a longer answer stops without an end: no closing mark, or an open code fence."""
    text = answer.rstrip()
    if text.count("```") % 2:
        return True
    last = text.rpartition("\n")[2]
    return len(text) > 400 and not text.endswith(_ENDS) and len(last.split()) > 6


def repetition(answer: str) -> float:
    """Share of lines that occurred before: a model in a loop."""
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def described_answer(answer: str) -> tuple[float, ...]:
    """The values of :data:`ANSWER_FEATURES`."""
    text = excerpt(answer)
    number, checked = final_number(text), sums(text)
    wrong = sum(not one.holds for one in checked)
    return (
        log1p(len(answer)),
        log1p(text.count("\n")),
        float(final_answer(text) is None),
        float(number is None),
        float(number is not None and not number.is_integer()),
        float(number is not None and number < 0),
        log1p(len(checked)),
        log1p(wrong),
        float(wrong > 0),
        float(refuses(text)),
        float(broken_off(text)),
        log1p(len(_HEDGES.findall(text))),
        repetition(text),
    )
