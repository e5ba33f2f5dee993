"""Answers that calculate are compared by what they arrive at, and times of day by when they are."""

import pytest
from waiting import takes_less_than

from costguard_core.cache.semantic.comparator.comparator import TextComparator
from costguard_core.cache.semantic.comparator.results import result_of, same_result

EGGS = "First, 3 boxes of 12 eggs are 3*12 = 36 eggs. She uses 10, so 36-10 = 26. The answer is 26."

BIRDS = (
    "They took 18/3 = 6 birds, which left 18 - 6 = 12 birds. At noon they added 18, so 12 + 18 = 30 birds. "
    "There were 30 - 18 = 12 more pink birds. The answer is 12."
)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (EGGS, "12 * 3 = 36 eggs in all. After she used 10 there are 36 - 10 = 26.", True),
        (EGGS, "3*12 = 36, 36 - 12 = 24.\n#### 24", False),
        (EGGS, "26", True),
        (EGGS, "27 eggs", False),
        (EGGS, "Two dozen eggs are 24 eggs.", False),
        ("He earns 15 x 8 = $120 a day, so 120*5=$600.\n#### 600", "8 × $15 = $120, 5 × $120 = $600", True),
        ("So $3 * 40 = $120.", "40 * 3 = 120 euros", False),
        ("\\boxed{0.5}", "The answer is 1/2", True),
        ("The answer is 90 minutes.", "2.5 - 1 = 1.5 hours", True),
        (
            BIRDS,
            BIRDS.replace("noon ", "").replace("30 - 18 = 12 more", "30 - 6 = 24 more").replace("is 12", "is 24"),
            False,
        ),
        ("On Monday 4, on Tuesday 3*4 = 12, in all 16.\nA: 16", "In all 4 + 4*3 = 16.\n#### 16", True),
        ("2 of 8 marbles are green: 2/8 = 0.25.", "Two of the eight are green, so the chance is 25%.", True),
        ("The lawn is 4 m × 5 m = 20 m².", "4 times 5 is 20, so the lawn has 20 square metres.", True),
        ("The meal costs $32.40 with a 20% tip on $27.", "0.2 × 27 = 5.40 and 27 + 5.40 = \\$32.40. #### 32.40", True),
        ("The meal costs $32.40 with a 20% tip on $27.", "0.2 × 27 = 5.40 and 27 + 5.40 = \\$32.40. #### 31.40", False),
        ("Yes, 51 / 3 = 17, so it can be divided.", "No, 51 is divided by 1 and 51 only.", False),
        ("Rent: 3 × 40 × 2 = **$240**.", "Rent: 3 × 40 × 3 = **$360**.", False),
        ("20 min + 50 min = 70 min, that is 1 hour and 10 minutes.", "20 min + 50 min = 70 minutes.", True),
        ("The boat makes 60 km in 4 h, so 60 / 4 = 15 km/h.", "Speed = 60 / 4 = 15 miles per hour.", False),
        ("3x − 1 = 8 → 3x = 9 → x = 3", "3x − 1 = −10, which means 3x = −9, so x = −3.", False),
        (r"Area = 6 × 7 = \boxed{42\text{ cm}^2}", r"It is 6 × 7 = \boxed{45\text{ cm}^2}.", False),
        (r"500 × 1.1 × 1.1 = \boxed{\$1{,}605}", "Final balance: $1,605.00", True),
        ("Work is 4 × 3 × 2 = 24 J", "The work is 24 joules, because 4 times 3 times 2 is what it takes.", True),
        ("It takes 90 minutes.", "It takes an hour and a quarter.", False),
        ("The store opens at 9 am.", "We open at 9 pm.", False),
        ("It closes at 9:30 pm.", "It closes at 21:30.", True),
        ("It opens at noon.", "It opens at 11 am.", False),
    ],
)
def test_results_and_not_traces(a, b, same):
    assert TextComparator()(a, b).same is same
    assert TextComparator()(b, a).same is same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Yes, you can return it within 30 days.", "No, returns are not possible after 30 days."),
        ("The landlord must give 30 days' notice.", "The tenant must give 30 days' notice."),
        ("The daily limit is $500.", "The annual deductible is $500."),
    ],
)
def test_the_same_number_in_prose_is_no_agreement(a, b):
    assert TextComparator()(a, b).same is not True


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("12 - 3 = 9 apples", "12", False),
        ("12 - 3 = 9 apples", "He has 12 apples left.", False),
        ("5 + 5 = 10 pens", "There are 5 pens.", False),
        ("12 - 3 = 9", "There are 9 apples left.", True),
        ("2 * 45 = 90 minutes", "It takes an hour and a half.", True),
        ("3.5 hours", "three and a half hours", True),
    ],
)
def test_a_result_beside_numbers_in_words(a, b, same):
    assert TextComparator()(a, b).same is same
    assert TextComparator()(b, a).same is same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("The deposit is $500, of which $100 is refundable.", "The deposit is $100, of which $500 is refundable."),
        ("Delivery on 03/04/2025", "Delivery on 04/03/2025"),
        ("1. Unplug it\n2. Wait ten seconds\n3. Plug it in", "1. Plug it in\n2. Wait ten seconds\n3. Unplug it"),
    ],
)
def test_another_order_of_numbers_or_steps_may_be_another_answer(a, b):
    assert TextComparator()(a, b).same is None


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Go to Account → Billing.", "Go to Account → Orders.", False),
        ("File → Export → PDF", "File > Import > PDF documents", False),
        ("Menu > Tools > Options", "Menu → Tools → Options", True),
        (
            "Go to Settings → Security and choose Reset password.",
            "Open Settings > Security, then Reset password.",
            True,
        ),
    ],
)
def test_paths_through_menus(a, b, same):
    assert TextComparator()(a, b).same is same
    assert TextComparator()(b, a).same is same


def test_the_language_of_a_block_of_code_is_no_part_of_it():
    assert TextComparator()("```python\nx = sorted(y)\n```", "Use `x = sorted(y)`.").same is not False


def test_numbers_on_the_way_to_a_result_that_is_not_found_are_no_other_answer():
    a = "x² − 7x + 10 = 0 is (x − 2)(x − 5) = 0, so x = 2 or x = 5."
    assert (
        TextComparator()(a, "The discriminant is 49 − 40 = 9, so x = (7 ± 3) / 2. The solutions are 5 and 2.").same
        is None
    )


def test_a_result_that_is_not_one_number_is_none():
    assert result_of("The answer is 3 or 4") is None
    assert result_of("no number") is None


@pytest.mark.parametrize("text", ["1+" * 8_000, "1/" * 8_000, "=" + " " * 8_000 + "x", "= " + "1" * 8_000 + "="])
def test_a_long_answer_is_not_read_again_from_each_of_its_numbers(text):
    takes_less_than(1.0, lambda: same_result(text, "26"))
