"""The scorer by rules: what it sees, and that it needs no numpy."""

from __future__ import annotations

import pytest
from python_process import run_python

from costguard_core.routing import Phase, Request, rules


def test_deciding_needs_no_numpy():
    code = (
        "import sys; sys.modules['numpy'] = None; from costguard_core.routing import *; print(rules()(Request('why?')))"
    )
    assert "reasoning" in run_python(code).stdout


def test_rules_say_what_they_saw():
    names = [reason.name for reason in rules()(Request("Prove step by step that 2 + 2 = 4", structured=True)).reasons]
    assert names[0] == "reasoning"
    assert {"maths", "structured output"} <= set(names)
    assert rules()(Request("hello")) is None
    assert (
        rules()(Request("hello", phase=Phase.TOOL)).value < 0 < rules()(Request("hello", phase=Phase.TOOL_ERROR)).value
    )
    assert rules(tool_result=2)(Request("hello", phase=Phase.TOOL)).value == 2
    with pytest.raises(TypeError, match="no rule is called magic"):
        rules(magic=1)
