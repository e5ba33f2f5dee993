"""What an embedding does not see: signs, quotations, addresses, flags, what a number counts; and other languages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.cache.language.detection import is_english
from costguard_core.cache.semantic.comparator.comparator import TextComparator
from costguard_core.cache.semantic.decision import Neighbour, guarded, objection
from costguard_core.cache.semantic.rules import symbols
from costguard_core.cache.semantic.rules.lexical import veto
from costguard_core.cache.semantic.rules.phrase import same_wording

DIFFERENT = [
    ("What does 😀 mean?", "What does 😡 mean?"),
    ("What does & mean in C?", "What does | mean in C?"),
    ("What does @ mean in python?", "What does ~ mean in python?"),
    ("x == y in python", "x != y in python"),
    ("is a >= b?", "is a <= b?"),
    ("What is 10 / 4?", "What is 10 * 4?"),
    ("What is 10 - 4?", "What is 10 + 4?"),
    ("What is 3! + 1?", "What is 3 + 1?"),
    ("Is 20 % VAT included?", "Is 20 VAT included?"),
    ("What does ls -l do?", "What does ls -a do?"),
    ("What does ls -l do?", "What does ls do?"),
    ("What is at https://example.com/a?", "What is at https://example.com/b?"),
    ("who reads a@example.com", "who reads b@example.com"),
    ('Translate "cat"', 'Translate "hat"'),
    ("what does `cat` do", "what does `cut` do"),
    ("What is the price for 2 adults and 3 children?", "What would the price be for 3 adults and 2 kids?"),
    ("How much for 2 nights and 3 guests?", "how much does it cost for 3 nights and 2 guests"),
    ("more than 5 items are free?", "5 items are free?"),
    ("up to 5 items free?", "over 5 items free?"),
    ("Can I only pay by card?", "Can I pay by card?"),
    ("Are all items returnable?", "Are some items returnable?"),
]
NUMBERS = [
    ("Is Python 3.10 supported?", "Is Python 3.1 supported?"),
    ("What changed in Django 2.1.10?", "What changed in Django 2.11.0?"),
    ("What happened on 1.11.2024?", "What happened on 11.1.2024?"),
    ("What happened on 01.1.2024?", "What happened on 10.1.2024?"),
    ("Is 10.0.11.1 reserved?", "Is 10.0.1.11 reserved?"),
    ("call extension 020", "call extension 20"),
    ("What is 5²?", "What is 52?"),
    ("is 1½ a number", "is 11/2 a number"),
    ("a screen of 16:10", "a screen of 16:1"),
]
SAME = [
    ("How do I reset my password?", "how can i reset my password"),
    ("Is 20% VAT included?", "is 20 percent VAT included"),
    ("it costs $3.10, is that right?", "it costs $3.1, is that right?"),
    ("the 5.00 pm bus", "the 5 pm bus"),
    ("what happened on 01.11.2024", "what happened on 1.11.2024"),
    ("thanks 😀 how do I pay?", "thanks, how do I pay?"),
    ("two-factor login - how?", "two factor login, how?"),
    ("Translate 'cat'", "Translate cat"),
    ("R&D costs", "R and D costs"),
]


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_symbols_that_change_the_answer_are_an_objection(a, b):
    assert symbols.veto(a, b) and symbols.veto(b, a)


@pytest.mark.parametrize(("a", "b"), NUMBERS)
def test_versions_dates_and_powers_are_not_other_numbers_run_together(a, b):
    assert veto(a, b)
    assert not same_wording(a, b)


@pytest.mark.parametrize(("a", "b"), SAME)
def test_another_spelling_is_no_objection(a, b):
    near = Neighbour("1", b, 0.95, "g")
    assert objection(a, near) is None
    assert objection(b, Neighbour("1", a, 0.95, "g")) is None


@given(st.text(max_size=100), st.text(max_size=100))
def test_symbols_object_both_ways_and_never_to_the_same_text(a, b):
    assert symbols.veto(a, a) is None
    assert (symbols.veto(a, b) is None) == (symbols.veto(b, a) is None)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("!!!", "???"),
        ("...", "?"),
        ("What is 5!", "What is 5?"),
        ("What is the length of 'a  b'?", "What is the length of 'a b'?"),
        ("What does it print?\nif x:\n  a()\n  b()", "What does it print?\nif x:\n  a()\nb()"),
    ],
)
def test_space_and_closing_marks_that_mean_something_are_no_wording(a, b):
    assert not same_wording(a, b)
    assert same_wording(a, a)


FOREIGN = [
    ("Kann ich mein Konto löschen?", "Kann ich mein Konto nicht löschen?"),
    ("Wie viel kosten zwei Nächte?", "Wie viel kosten drei Nächte?"),
    ("¿Puedo pagar con tarjeta?", "¿Puedo pagar sin tarjeta?"),
    ("Est-ce que je peux annuler ?", "Est-ce que je ne peux pas annuler ?"),
    ("我可以取消订单吗?", "我不可以取消订单吗?"),
    ("كيف أفتح الإشعارات؟", "كيف أغلق الإشعارات؟"),
    ("Как включить уведомления?", "Как отключить уведомления?"),
    ("通知をオンにする方法は?", "通知をオフにする方法は?"),
    ("क्या मैं रद्द कर सकता हूँ?", "क्या मैं रद्द नहीं कर सकता हूँ?"),
]


@pytest.mark.parametrize(("a", "b"), FOREIGN)
def test_of_a_language_that_cannot_be_read_only_the_same_question_hits(a, b):
    assert not guarded(a, [Neighbour("1", b, 0.99, "g")], threshold=0.75).hit
    assert guarded(a, [Neighbour("1", a, 1.0, "g")], threshold=0.75).hit


def test_answers_in_another_language_cannot_be_told_apart():
    yes, no = "Ja, Sie können mit Karte zahlen.", "Nein, Sie können nicht mit Karte zahlen."
    assert TextComparator()(yes, no).same is None
    assert TextComparator()(yes, yes).same is True


@pytest.mark.parametrize(
    "text", ["lights off", "play jazz", "book a table at the café", "what does 'nicht' mean", "is 5 µm small", ""]
)
def test_english_and_key_words_are_read(text):
    assert is_english(text)


@pytest.mark.parametrize(
    ("answer", "same"), [("OK", None), ("Done!", None), ("Yes.", True), ("change gift card", True)]
)
def test_the_same_nothing_proves_nothing(answer, same):
    assert TextComparator()(answer, answer).same is same
