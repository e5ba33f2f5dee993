"""Numbers with units, and names with numbers in them."""

from decimal import Decimal

import pytest

from costguard_core.cache.semantic.rules.lexical import veto
from costguard_core.cache.semantic.rules.phrase import phrase
from costguard_core.cache.semantic.rules.quantities import numbers_in

OTHER = [
    ("give 3 mg of it", "give 3 g of it"),
    ("give 3mg of it", "give 3g of it"),
    ("a bottle of 7 cl", "a bottle of 7 l"),
    ("a cable of 2 m", "a cable of 2 cm"),
    ("retry after 20 minutes", "retry after 20 ms"),
    ("a line of 50 mbit", "a line of 50 mbyte"),
    ("5 business days", "5 calendar days"),
    ("5 working days", "5 days"),
    ("4 acres", "4 hectares"),
    ("2 nights in Oslo", "2 months in Oslo"),
    ("a 10 kW charger", "a 10 kWh charger"),
    ("30 degrees celsius", "30 degrees fahrenheit"),
    ("by 2 percent", "by 2 percentage points"),
    ("use port S3 of it", "use port S4 of it"),
    ("is IPv6 on", "is IPv4 on"),
    ("what is a 1098T", "what is a 1098E"),
]
EQUAL = [
    ("give 3 mg of it", "give 3mg of it"),
    ("retry after 90 seconds", "retry after 90 s"),
    ("wait 14 days", "wait two weeks"),
    ("wait 120 minutes", "wait 2 hours"),
    ("half a kilo, so 500 g", "500 grams, half a kilogram"),
    ("a 2 year plan", "a 24 months plan"),
    ("5 working days", "5 business days"),
    ("a limit of 30 seconds", "a limit of 30"),
    ("How do I start EC2?", "how can I start an ec2"),
    ("what is MP3 for", "what is an mp3 good for"),
    ("the W2s", "my W2"),
]


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_another_unit_or_name_is_something_else(a, b):
    assert veto(a, b)
    assert veto(b, a)


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_one_quantity_or_name_may_be_written_in_many_ways(a, b):
    assert veto(a, b) is None
    assert veto(b, a) is None


def test_units_are_converted_within_a_dimension():
    (quantity,) = numbers_in(phrase("1.5 hours")).quantities
    assert (quantity.dimension, quantity.value) == ("time", Decimal(5400))
    assert numbers_in(phrase("12 people and 3 kg")).bare == (Decimal(12),)
