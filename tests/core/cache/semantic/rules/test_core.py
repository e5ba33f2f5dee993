"""What a question is about, without its opening and closing."""

import pytest

from costguard_core.cache.policy import classify
from costguard_core.cache.semantic.decision import difference
from costguard_core.cache.semantic.query import is_more_than_a_question
from costguard_core.cache.semantic.rules.core import core


@pytest.mark.parametrize(
    "text",
    [
        "reset my password",
        "How do I reset my password?",
        "how can i reset my password",
        "Hi, could you please tell me how to reset my password? Thanks!",
        "What's the way to reset my password?",
        "What are the steps to reset my password?",
        "Is it possible to reset my password?",
        "I'd like to reset my password, how does that work?",
        "Any idea how I can reset my pasword?",
        "Quick question: how do I reset my password?",
    ],
)
def test_openings_and_closings_say_nothing_about_the_subject(text: str) -> None:
    assert core(text) == "reset my password"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("I was wondering, how long does delivery take?", "how long does delivery take"),
        ("What is the savings rate?", "what is the savings rate"),
        ("Why can't I log in?", "why can not i log in"),
        ("Do you know who invented it?", "who invented it"),
        ("Can I?", "can i"),
        ("Wie kann ich meine Karte sperren?", "Wie kann ich meine Karte sperren?"),  # not read
        ('How do I write "hello"?', 'How do I write "hello"?'),
        ("", ""),
    ],
)
def test_what_is_asked_stays(text: str, left: str) -> None:
    assert core(text) == left


def test_an_opening_is_no_difference_and_the_subject_is() -> None:
    assert difference("Any idea how I can set up Apple Pay?", "How do I set up Apple Pay?") is None
    assert difference("What are the steps to book a room?", "How do I book a room?") is None
    assert difference("What are the steps to cancel a room?", "How do I book a room?") is not None
    assert difference("How much is express shipping?", "Quick question: how much is shipping?") is not None


@pytest.mark.parametrize(
    "text",
    [
        "I was wondering, which browsers do you support?",
        "Any idea how I can change my PIN?",
        "What is the best way to end my subscription?",
        "What are the steps to set up single sign-on?",
        "Quick question: what is the savings account for?",
    ],
)
def test_openings_make_no_question_personal(text: str) -> None:
    found = classify(text)
    assert not found.personal
    assert not found.dynamic
    assert not is_more_than_a_question(text)


@pytest.mark.parametrize(
    "text",
    ["I was charged twice", "Any idea where my parcel is?", "Is the subscription service down?", "Question: hi\nA: x"],
)
def test_what_is_personal_or_live_or_more_than_a_question_stays_so(text: str) -> None:
    found = classify(text)
    assert found.personal or found.dynamic or is_more_than_a_question(text)
