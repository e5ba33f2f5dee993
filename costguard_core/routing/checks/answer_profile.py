"""What a call site's cheap answers usually look like, seen without labels; an answer that looks otherwise is suspect.

If nine of ten answers end in a whole number, the one that does not is probably wrong. Learned from a sample of the
cheap model's own answers, so a verifier fits its call site without anybody writing it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from costguard_core.routing.checks.verify import (
    Answer,
    Check,
    Verdict,
    arithmetic,
    complete,
    has_final_answer,
    has_final_number,
    not_refused,
    valid_json,
)

USUAL = 0.75  # a shape that this part of the answers has is expected of all of them
MIN_ANSWERS = 30

_SHAPES: tuple[Check, ...] = (has_final_answer(), has_final_number(), has_final_number(whole=True), valid_json())


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Checks that hold for any answer, and the shapes that are usual here."""

    shapes: tuple[Check, ...]
    always: tuple[Check, ...] = (complete(), not_refused(), arithmetic())

    def __call__(self, answer: Answer) -> Verdict:
        """The first failure, shapes first; so it is itself a check for ``verify=``."""
        failures = self.failures(answer)
        return failures[0] if failures else Verdict(True)

    def failures(self, answer: Answer) -> list[Verdict]:
        """Every check that failed: their number ranks suspects."""
        return [verdict for check in (*self.shapes, *self.always) if not (verdict := check(answer)).ok]


def usual(answers: Iterable[str], *, level: float = USUAL) -> Suspicion:
    """The checks that fit a sample of cheap answers. With fewer than 30 of them no shape is assumed."""
    seen = [Answer(text) for text in answers]
    if len(seen) < MIN_ANSWERS:
        return Suspicion(())
    shares = [(check, sum(check(answer).ok for answer in seen) / len(seen)) for check in _SHAPES]
    return Suspicion(tuple(check for check, share in shares if share >= level))
