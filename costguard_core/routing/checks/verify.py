"""Checks of a cheap answer, for cascades: answer cheaply, check, escalate what fails.

Each check passes or fails; none is one weight among many, because a weighted sum lets an invalid answer pass when the
rest looks good. Hedging words, length and similarity do not verify anything (measured: they rank answers no better than
the question does), so there are no checks of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from costguard_core.routing.checks.answers import broken_off, final_answer, final_number, refuses
from costguard_core.routing.checks.arithmetic import sums
from costguard_core.routing.checks.schema import schema_check

_FENCED = re.compile(r"^\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)
# How providers say that an answer was cut: OpenAI and Mistral, Anthropic, Google, Mistral, OpenAI's filter.
_CUT_SHORT = frozenset({"length", "max_tokens", "MAX_TOKENS", "model_length", "content_filter"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer in framework-neutral terms.

    Attributes:
        text: what it says; of structured output, the object as JSON.
        finish_reason: why it ended, in the provider's word.
        tool_calls: names of the tools that it wants to call.
    """

    text: str
    finish_reason: str | None = None
    tool_calls: tuple[str, ...] = ()


class Verdict(NamedTuple):
    """Whether an answer passed.

    Attributes:
        ok: it did.
        reason: what failed; it never quotes the answer.
    """

    ok: bool
    reason: str = ""


Check = Callable[[Answer], Verdict]
PASSED = Verdict(True)


def every(*checks: Check) -> Check:
    """Passes when all checks do; the first failure is the reason."""

    def check(answer: Answer) -> Verdict:
        return next((verdict for one in checks if not (verdict := one(answer)).ok), PASSED)

    return check


def complete() -> Check:
    """Fails an answer that is empty, was cut off by a token limit, or stops in the middle of a sentence."""

    def check(answer: Answer) -> Verdict:
        if answer.finish_reason in _CUT_SHORT:
            return Verdict(False, f"cut short ({answer.finish_reason})")
        if answer.tool_calls:
            return PASSED
        if not answer.text.strip():
            return Verdict(False, "empty")
        # A provider that says "stop" knows better than a look at the last line.
        guessed = answer.finish_reason is None and broken_off(answer.text)
        return Verdict(False, "breaks off") if guessed else PASSED

    return check


def not_refused() -> Check:
    """Fails an answer that opens as a refusal. English phrases only."""
    return lambda answer: Verdict(False, "refuses") if refuses(answer.text) else PASSED


def known_tools(names: Iterable[str]) -> Check:
    """Fails an answer that calls a tool which does not exist."""
    known = frozenset(names)

    def check(answer: Answer) -> Verdict:
        return PASSED if known.issuperset(answer.tool_calls) else Verdict(False, "calls an unknown tool")

    return check


def valid_json(schema: Mapping[str, object] | type[object] | None = None) -> Check:
    """Fails what is not JSON (a code fence around it is fine) or does not fit ``schema``.

    Args:
        schema: a JSON schema (``format`` and references to other documents are not checked), or a Pydantic model class.

    Raises:
        ConfigurationError: it is not a valid JSON schema.
    """
    fits = _schema_verdict(schema)

    def check(answer: Answer) -> Verdict:
        text = unfenced(answer.text)
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return Verdict(False, "not JSON")
        return fits(text, value)

    return check


def has_final_answer() -> Check:
    """Fails an answer without a marked result: ``#### 72``, ``\\boxed{72}``, "the answer is 72"."""
    return lambda answer: PASSED if final_answer(answer.text) is not None else Verdict(False, "no final answer")


def has_final_number(*, whole: bool = False) -> Check:
    """Fails an answer whose marked result holds no number, or with ``whole`` one that is not an integer."""

    def check(answer: Answer) -> Verdict:
        number = final_number(answer.text)
        if number is None:
            return Verdict(False, "no final number")
        return Verdict(False, "not a whole number") if whole and not number.is_integer() else PASSED

    return check


def arithmetic() -> Check:
    """Fails an answer in which a written sum does not come out: ``12 * 3 = 38``."""

    def check(answer: Answer) -> Verdict:
        wrong = sum(not one.holds for one in sums(answer.text))
        return Verdict(False, f"{wrong} wrong sum{'s' if wrong > 1 else ''}") if wrong else PASSED

    return check


def matches(pattern: str) -> Check:
    """Fails an answer in which the regular expression is not found."""
    compiled = re.compile(pattern)
    return lambda answer: PASSED if compiled.search(answer.text) else Verdict(False, "does not match")


def satisfies(test: Callable[[str], bool], *, name: str = "") -> Check:
    """A check of one's own: a function of the answer's text that says whether it is good."""
    called = name or getattr(test, "__name__", "check")
    return lambda answer: PASSED if test(answer.text) else Verdict(False, f"{called} failed")


def unfenced(text: str) -> str:
    """The text inside a Markdown code fence, or the text itself."""
    found = _FENCED.match(text)
    return found[1] if found else text.strip()


def _schema_verdict(schema: Mapping[str, Any] | type[Any] | None) -> Callable[[str, object], Verdict]:
    """A function of a JSON text and its value that says whether they fit."""
    if schema is None:
        return lambda *_: PASSED
    if isinstance(schema, Mapping):
        schema_errors = schema_check(schema)

        def by_schema(text: str, value: object) -> Verdict:
            errors = schema_errors(value)
            return Verdict(False, f"schema: {errors[0]}") if errors else PASSED

        return by_schema
    model = schema

    def by_model(text: str, value: object) -> Verdict:
        try:
            model.model_validate_json(text)
        except ValueError as error:  # a pydantic.ValidationError, whose text quotes the answer
            count = getattr(error, "error_count", lambda: 1)()
            return Verdict(False, f"does not fit {model.__name__} ({count} errors)")
        return PASSED

    return by_model
