"""Labels of pairs: when two answers agree."""

from __future__ import annotations

from costguard_core.routing.learning.labels import agreement


def test_answers_agree_on_their_result_not_their_words():
    assert agreement("I counted: #### 72", "48 + 24 = 72, so the answer is 72.") == 1.0
    assert agreement("#### 72", "#### 71") == 0.0
    assert agreement("Paris.", "paris") == 1.0
