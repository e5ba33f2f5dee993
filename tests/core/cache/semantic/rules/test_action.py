"""What is to be done: the verb of a question, and whether an answer's wordings ask for it."""

import pytest

from costguard_core.cache.semantic.decision import Neighbour, by_wordings
from costguard_core.cache.semantic.rules import action

ACTIONS = [
    ("Hello, how do I repaint my fence?", ("repaint",)),
    ("What do I have to do to rent a kayak?", ("rent",)),
    ("I would like to sharpen a knife, please", ("sharpen",)),
    ("How do I give up my allotment?", ("give_up",)),
    ("How do I pick my tickets up?", ("pick_up",)),
    ("Where do I get a badge?", ()),
    ("Fence repainting", ()),
    ("How does the cancellation work?", ()),
]
ASKED = [
    ("How do I end my lease?", ["How do I terminate my lease?"]),
    ("How do I cancel my lease?", ["I want to keep a dog", "Cancellation of the lease"]),
    ("How do I sign up for the choir?", ["Where can I register for the choir?"]),
    ("How do I get a badge?", ["Where can I apply for a badge?"]),
    ("Is the choir free?", ["How do I join the choir?"]),
]
NOT_ASKED = [
    ("How do I clean the boiler?", ["How do I order a boiler?", "Where can I buy a boiler?"]),
    ("How do I give up my allotment?", ["How do I apply for an allotment?", "I need an allotment"]),
    ("How do I read the gauge?", ["How do I submit the gauge reading?"]),
]


@pytest.mark.parametrize(("text", "verbs"), ACTIONS)
def test_the_verb_that_is_asked_about_is_found(text, verbs):
    assert action.actions(text) == verbs


@pytest.mark.parametrize(("question", "wordings"), ASKED)
def test_the_same_action_in_other_words_is_asked_for(question, wordings):
    assert action.is_asked(question, wordings)


@pytest.mark.parametrize(("question", "wordings"), NOT_ASKED)
def test_another_action_on_the_same_thing_is_not_served_by_wordings(question, wordings):
    assert not action.is_asked(question, wordings)
    near = [Neighbour(str(place), text, 0.85, "g", written=True) for place, text in enumerate(wordings)]
    assert by_wordings(question, near) is None
