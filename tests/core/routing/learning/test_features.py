"""Features: finite for every text, the same in every process, read from both ends of a long text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from python_process import run_python

from costguard_core.routing import Request
from costguard_core.routing.learning.features import FEATURES, excerpt, features, hashed, tokens


@given(st.text(max_size=500))
def test_every_text_has_features(text):
    found = features(Request(text))
    assert tuple(found) == FEATURES
    assert all(value == value and abs(value) < 1e9 for value in found.values())


def test_hashing_is_the_same_in_every_process():
    code = (
        "from costguard_core.routing.learning.features import hashed, tokens; "
        "print(sorted(hashed(tokens('Tell me a story'), size=8192)))"
    )
    other = run_python(code)
    assert other.stdout.strip() == str(sorted(hashed(tokens("Tell me a story"), size=8192)))


def test_both_ends_of_a_long_text_are_read():
    text = "first " + "x" * 10_000 + " last"
    assert {"first", "last"} <= set(tokens(excerpt(text)))
