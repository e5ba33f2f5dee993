"""One word more or instead, in the same question otherwise; typing errors; and the threshold decision that uses it."""

import pytest

from costguard_core.cache.language.english import corrected
from costguard_core.cache.semantic.decision import Neighbour, guarded
from costguard_core.cache.semantic.rules import substitution
from costguard_core.cache.semantic.rules.phrase import phrase

OTHER = [
    ("who may see a private board", "who may see a shared board"),
    ("how do I wax a ski", "how do I wash a ski"),
    ("what do nurses earn", "what do pilots earn"),
    ("Is the tap water safe?", "Is the tap water safe for babies?"),
    ("What does the guarantee cover?", "What does the extended guarantee cover?"),
    ("Can I bring a dog?", "Can my sister bring a dog?"),
    ("is lisinopril safe", "is losartan safe"),
]
SAME = [
    ("How do I cancel my booking?", "how do i cancle my booking"),
    ("How do I buy a ticket?", "How can I purchase a ticket?"),
    ("What is the quickest way to Bern?", "What is the fastest way to Bern?"),
    ("um, how do I reset the clock?", "How do I reset the clock?"),
    ("Which city is the capital of Chad?", "What is the capital of Chad?"),
    ("When does the term start?", "When does the term begin?"),
    ("How is a cloud formed?", "How does the formation of a cloud work?"),
]


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_another_thing_in_the_same_words_is_named(a, b):
    assert substitution.veto(phrase(a), phrase(b))
    assert substitution.veto(phrase(b), phrase(a))


@pytest.mark.parametrize(("a", "b"), SAME)
def test_synonyms_fillers_and_typing_errors_are_nothing_else(a, b):
    assert substitution.veto(phrase(a), phrase(b)) is None
    assert substitution.veto(phrase(b), phrase(a)) is None


def test_freely_reworded_questions_are_not_compared_word_by_word():
    a, b = "Is there a charge for paying abroad?", "Do you take anything when my card is used in another country?"
    assert substitution.veto(phrase(a), phrase(b)) is None


@pytest.mark.parametrize(
    ("typed", "meant"), [("witout", "without"), ("unsaef", "unsafe"), ("recieved", "recieved"), ("kubectl", "kubectl")]
)
def test_a_word_is_corrected_by_one_letter_if_it_is_none(typed, meant):
    assert corrected(typed) in (meant, meant.replace("ie", "ei"))


@pytest.mark.parametrize(
    ("a", "b"), [*OTHER, ("is it saef to eat", "is it unsaef to eat"), ("tea wit milk", "tea witout milk")]
)
def test_above_the_threshold_they_are_misses_with_the_reason(a, b):
    verdict = guarded(a, [Neighbour("1", b, 0.97, "g")], threshold=0.9)
    assert not verdict.hit
    assert verdict.reason
    assert verdict.refused
