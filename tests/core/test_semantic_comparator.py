"""Do two answers say the same?"""

import pytest

from costguard_core.semantic.comparator import TextComparator


@pytest.fixture
def compare():
    comparator = TextComparator()
    for number in range(60):  # what this assistant always says
        comparator.observe(f"Sure! Subject {number} costs {number} points. Let me know if you need anything else.")
    return comparator


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Paris.", "Paris."),
        ("Refunds take 5 days.", "A refund takes five days."),
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1.0}'),
        (
            "Go to Settings and choose Privacy.",
            "Sure! In Settings, choose Privacy. Let me know if you need anything else.",
        ),
        ("Yes, dogs are welcome in the hotel.", "Dogs are welcome in our hotel, yes."),
    ],
)
def test_the_same(compare, a, b):
    assert compare(a, b).same is True
    assert compare(b, a).same is True


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Refunds take 5 days.", "Refunds take 7 days."),
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', "a is 1"),
        ("Yes, that is allowed on the train.", "No, that is not allowed on the train."),
        ("You can return worn shoes.", "You can not return worn shoes."),
        ("The lights are on now.", "The lights are off now."),
        ("Ask for Miller at the desk.", "Ask for Jones at the desk."),
        (
            "Sure! Bananas are yellow. Let me know if you need anything else.",
            "Sure! Rent is due. Let me know if you need anything else.",
        ),
    ],
)
def test_not_the_same(compare, a, b):
    assert compare(a, b).same is False
    assert compare(b, a).same is False


def test_without_words_it_cannot_be_told(compare):
    assert compare("…", "Paris").same is None
