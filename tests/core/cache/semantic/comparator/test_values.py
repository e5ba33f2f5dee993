"""Numbers, times of day and dates are compared by what they are, however they are written."""

import pytest
from waiting import takes_less_than

from costguard_core.cache.semantic.comparator.comparator import TextComparator
from costguard_core.cache.semantic.comparator.values import Date, clock_times, dates, fraction, plain_numbers


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1/2 of it", "0.5 of it"),
        ("an hour and a half", "1.5 hours"),
        ("two hours and a quarter", "2.25 hours"),
        ("half an hour", "0.5 hours"),
        ("3 minutes and 5 seconds", "185 seconds"),
        ("1/3", "1/3"),
        ("on 1/2/2024", "on 1/2/2024"),
        ("1/0", "1/0"),
        ("half of the guests", "50 percent of the guests"),
        ("three quarters of them", "75 percent of them"),
        ("66.67%", "67 %"),
        ("one in five people", "20 percent of people"),
        ("65 cents", "0.65"),
        ("68 °F", "20 °C"),
        ("twice a day", "2 times a day"),
        ("at a quarter to nine in the evening", "at 20:45"),
        ("at half past ten", "at 10:30"),
        ("at a quarter to twelve in the morning", "at 11:45"),
        ("on the third of the month", "on the third of the month"),
        ("the first one in five minutes", "the first one in five minutes"),
        ("66 %", "66 %"),
        ("until midnight", "until 0:00"),
        ("on 7 June 2023", "on date0607 2023"),
        ("on June 7th", "on date0607"),
        ("2023-13-40", "2023-13-40"),
        ("you may 4 times", "you may 4 times"),
    ],
)
def test_one_spelling(text, written):
    assert plain_numbers(text) == written


def test_times_of_day_in_minutes():
    assert clock_times("from 9 am to 5:30 p.m., not 13 pm") == {540, 1050}
    assert clock_times("at nine in the morning, at noon and at 23:15") == {540, 720, 1395}
    assert clock_times("9 people and 3 dogs") == frozenset()


def test_dates_in_several_spellings():
    day = Date(9, 30, 2021)
    for text in (
        "2021-09-30",
        "30.09.2021",
        "30 September 2021",
        "the 30th of Sept, 2021",
        "Sep. 30th, 2021",
        "9/30/2021",
    ):
        assert dates(text) == {day}, text
    assert dates("30 September") == {Date(9, 30, None)}
    assert dates("4/5/2021 may be in May or in April") == frozenset()


def test_a_fraction_that_does_not_end():
    assert str(fraction("7/3")) == "2.333333"
    assert fraction("7/0") is fraction("7 or 3") is None


EQUAL = [
    ("The hearing is on 3 March 2026.", "The hearing takes place on 2026-03-03."),
    ("The shop closes at half past six.", "The shop closes at 6:30 pm."),
    ("A print costs $0.40 for each photo.", "Each photo print costs 40 cents."),
    ("Bake it at 392 °F until golden.", "Bake at 200 °C until it is golden."),
    ("One in ten parcels is late.", "10 % of the parcels are late."),
    ("The film lasts an hour and 50 minutes.", "The film lasts 110 minutes."),
    ("The dogs and cats are in a ratio of 2:5.", "The ratio of dogs and cats is 2 to 5."),
    ("It was fixed in version 3.10.2.", "The fix came with v3.10.2."),
    ("The shelf measures 90 cm by 40 cm.", "The shelf measures 0.9 m by 0.4 m."),
    ("The island has 11,500 inhabitants.", "The island has eleven and a half thousand inhabitants."),
    ("Night mode needs version 5.3.", "Night mode needs v5.3."),
    ("The desk is open Monday to Friday.", "The desk is open Mon - Fri."),
    ("Entry costs nothing for pupils.", "Yes, entry is free for pupils."),
    ("Add a tablespoon of oil to a cup of flour.", "Add 1 tbsp of oil to 1 cup of flour."),
]
OTHERS = [
    ("The lease ends on 5 June 2025.", "The lease ends on 2025-06-15."),
    ("The ferry leaves at half past two.", "The ferry leaves at 15:30."),
    ("The film lasts 50 minutes.", "The film lasts an hour and 50 minutes."),
    ("Pets under 8 kg fly free of charge.", "Pets over 8 kg fly free of charge."),
    ("Rents rose by 4 percent last year.", "Rents rose to 4 percent last year."),
    ("Bring at least 5 photos.", "Bring at most 5 photos."),
    ("Twenty percent of the members voted.", "Twenty members voted."),
    ("240 / 40 = 6, so it takes 6 hours.", "240 / 40 = 5, so it takes 5 hours."),
    ("3x = 12, so x = 12/3", "3x = 7, so x = 7/3"),
    ("4 × 5 = 20 and 20 × 2 = 40, so it holds 40 cm³.", "4 × 5 = 20 and 20 × 2 = 40, so it holds 45 cm³."),
]


@pytest.mark.parametrize(("a", "b", "same"), [*((*pair, True) for pair in EQUAL), *((*pair, False) for pair in OTHERS)])
def test_values_are_compared_however_they_are_written(a, b, same):
    assert TextComparator()(a, b).same is same
    assert TextComparator()(b, a).same is same


def test_another_bound_in_another_order_is_not_the_same():
    a, b = "Groups of at least 9 people pay less.", "Less is what groups of at most 9 people pay."
    assert TextComparator()(a, b).same is not True


def test_a_ratio_the_other_way_round_is_not_the_same():
    assert TextComparator()("The ratio of oil to vinegar is 3:1.", "Use 1 part oil to 3 of vinegar.").same is not True


def test_a_number_and_its_ordinal_are_not_one_value():
    assert TextComparator()("The lift holds 9 people.", "The lift goes to the 9th floor.").same is not True


@pytest.mark.parametrize(
    "text", ["one in " * 4_000, "half " * 4_000, "1." * 8_000, "June " * 4_000, "a quarter past " * 2_000]
)
def test_hostile_text_is_read_in_bounded_time(text):
    takes_less_than(1.0, lambda: (plain_numbers(text), dates(text), clock_times(text)))


@pytest.mark.parametrize(
    "text", ["{} °F", "{} hours and a half", "The answer is {}/3", "{} cents", "= {}/7", "one in {}"]
)
def test_a_number_that_is_too_long_to_be_one_is_no_error(text):
    takes_less_than(5.0, lambda: TextComparator()(text.format("1" * 4_500), "5 + 2 = 7, so it costs 7 cents."))
