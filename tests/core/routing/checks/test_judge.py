"""A model as the judge of difficulty: it is asked for a number, and the question is data."""

from __future__ import annotations

from costguard_core.routing import Request, asking
from costguard_core.routing.checks.judge import instructions, verdict


def test_a_judge_reads_a_number_and_the_question_is_data():
    assert [verdict(text) for text in ("7", "Score: 10", "11", "-1", "hard", "")] == [0.7, 1.0, None, None, None, None]
    assert asking(lambda prompt: "3" if "-----\nwhy?\n-----" in prompt else "9")(Request("why?")) == 0.3
    assert len(instructions(Request("x" * 10**6))) < 5000
