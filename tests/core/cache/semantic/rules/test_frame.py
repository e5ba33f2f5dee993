"""Words of closed classes: what is asked for, may or must, was or will be, how much of something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.cache.semantic.rules import frame
from costguard_core.cache.semantic.rules.phrase import phrase

FIRM = [
    ("When was the bridge built?", "Why was the bridge built?", "asked for"),
    ("At the gym, when do classes start?", "At the gym, why do classes start?", "asked for"),
    ("Where do I hand in the badge?", "When do I hand in the badge?", "asked for"),
    ("Tell me why the sale ended", "Tell me when the sale ended", "asked for"),
    ("How often do buses run?", "Where do buses run?", "asked for"),
    ("Did the rent go up?", "Will the rent go up?", "tense"),
    ("Has the parking fee been cut?", "Will the parking fee be cut?", "tense"),
    ("how long have you rented out boats", "how long will you rent out boats", "tense"),
    ("what did we sell last quarter", "what did we sell this quarter", "period"),
    ("Can I return it before delivery?", "Can I return it after delivery?", "relation"),
    ("Is it free within the trial?", "Is it free after the trial?", "relation"),
    ("Can I move shares out of my portfolio?", "Can I move shares into my portfolio?", "relation"),
]
STRICT = [
    ("What is a cookie?", "What is a cookie used for?", "asked for"),
    ("How is glass coloured?", "What is glass coloured with?", "asked for"),
    ("What is exempt from the toll?", "Who is exempt from the toll?", "asked for"),
    ("Is the form signed?", "Why is the form signed?", "asked for"),
    ("Is the fee refunded?", "When is the fee refunded?", "asked for"),
    ("may we drive without lights", "must we drive without lights", "modality"),
    ("is a helmet recommended here", "is a helmet required here", "modality"),
    ("What was the exchange limit?", "What is the exchange limit?", "tense"),
    ("Do most banks open on Saturday?", "Do all banks open on Saturday?", "how much"),
    ("how do I delete all branches", "how do I delete a branch", "how much"),
    ("Does only the owner pay?", "Does the owner also pay?", "how much"),
    ("How do I get a parking permit?", "What does a parking permit cost?", "a price"),
    ("Can I get a room in a dormitory?", "Quick question: how much is a room in a dormitory?", "a price"),
    ("dear team, do you have a ferry to the island?", "what does the ferry to the island cost", "a price"),
    ("What can I do with a guest badge?", "Where do I get a guest badge?", "what it is for"),
    ("What is the purpose of a deposit?", "How do I pay a deposit?", "what it is for"),
    ("Can I park outside the fairground?", "Where can I park at the fairground?", "relation"),
    ("How do I raise my limit?", "I want a smaller limit, how do I get it?", "direction"),
]
SAME = [
    ("How do I renew a passport?", "How can I renew a passport?"),
    ("What do I need to do to renew a passport?", "How do I renew a passport?"),
    ("What time does the bar open?", "When does the bar open?"),
    ("Could you tell me how long it takes?", "how long does it take"),
    ("What do two nights cost?", "How much do two nights cost?"),
    ("How much is it to freeze my contract?", "Is it free to freeze my contract?"),
    ("What does a week of storage cost?", "Do I have to pay for a week of storage?"),
    ("How much is ten miles in metres?", "Convert ten miles to metres"),
    ("What can I use a voucher for?", "What is a voucher for?"),
    ("At the gym, when do classes start?", "When do classes start at the gym?"),
    ("How deep is the lake?", "What is the depth of the lake?"),
    ("How do a loan and a lease differ?", "What is the difference between a loan and a lease?"),
    ("Can I park outside?", "Is there parking outside?"),
    ("Do I need a permit?", "Is a permit needed?"),
    ("Have you got a table outside?", "Do you have a table outside?"),
    ("Can I work from home?", "Am I allowed to work from home?"),
    ("What is the reason for the delay?", "Why is there a delay?"),
    ("how should I store it", "how can I store it"),
    ("how often should I oil the hinge", "how often do I need to oil the hinge"),
    ("last year's report", "the report of the previous year"),
]


@pytest.mark.parametrize(("a", "b", "kind"), FIRM)
def test_a_closed_class_word_that_always_changes_the_answer_is_named(a, b, kind):
    for one, other in ((a, b), (b, a)):
        assert kind in (frame.veto(phrase(one), phrase(other)) or "nothing")


@pytest.mark.parametrize(("a", "b", "kind"), STRICT)
def test_one_that_mostly_changes_the_answer_is_named_where_nothing_else_decides(a, b, kind):
    for one, other in ((a, b), (b, a)):
        assert kind in (frame.strict_veto(phrase(one), phrase(other)) or "nothing")


@pytest.mark.parametrize(("a", "b"), SAME)
def test_another_way_to_ask_is_no_objection(a, b):
    assert frame.strict_veto(phrase(a), phrase(b)) is None
    assert frame.strict_veto(phrase(b), phrase(a)) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_objections_go_both_ways_and_never_against_the_same_text(a, b):
    assert frame.strict_veto(phrase(a), phrase(a)) is None
    assert (frame.strict_veto(phrase(a), phrase(b)) is None) == (frame.strict_veto(phrase(b), phrase(a)) is None)


def test_a_text_of_many_commas_is_not_read_again_behind_each():
    listed = phrase("pens, " * 200 + "and ink")
    before = phrase.cache_info().misses
    frame.frame_of(listed)
    assert phrase.cache_info().misses - before <= 3
