"""Numbers with what they count: 5 mg is not 5 g, and 14 days are two weeks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from costguard_core.cache.semantic.rules.lexicon import UNITS
from costguard_core.cache.semantic.rules.phrase import Phrase, is_number


class Quantity(NamedTuple):
    """A number with a unit.

    Attributes:
        dimension: what is measured; quantities of one dimension can be compared.
        value: in the base unit of the dimension.
        number, unit: as they are written, the number in digits.
    """

    dimension: str
    value: Decimal
    number: Decimal
    unit: str


class Numbers(NamedTuple):
    """The numbers of a text: those with a unit, and the others, sorted."""

    quantities: tuple[Quantity, ...]
    bare: tuple[Decimal, ...]


@lru_cache(maxsize=4096)
def numbers_in(phrase: Phrase) -> Numbers:
    """The numbers of a text."""
    quantities, bare = [], []
    for place, word in enumerate(phrase.words):
        if is_number(word):
            unit = _unit_at(phrase.words, place + 1)
            if unit is None:
                bare.append(Decimal(word))
            else:
                dimension, factor = UNITS[unit]
                value = (Decimal(word) * factor).normalize()
                quantities.append(Quantity(dimension, value, Decimal(word), unit))
    return Numbers(tuple(quantities), tuple(sorted(bare)))


def difference(a: Phrase, b: Phrase) -> tuple[list[Quantity | Decimal], list[Quantity | Decimal]]:
    """The numbers that only one of two texts has. A number without a unit is the same as one with a unit."""
    left, right = numbers_in(a), numbers_in(b)
    only_a, only_b = _unmatched(left.quantities, right.quantities), _unmatched(right.quantities, left.quantities)
    bare_a, bare_b = Counter(left.bare), Counter(right.bare)
    common = bare_a & bare_b
    bare_a, bare_b = bare_a - common, bare_b - common
    only_a, only_b = list(_without(only_a, bare_b)), list(_without(only_b, bare_a))
    return [*only_a, *bare_a.elements()], [*only_b, *bare_b.elements()]


def stated_in_one(a: Phrase, b: Phrase) -> tuple[bool, bool]:
    """Whether the first text states a number that the second has nowhere, and the other way round."""
    left, right = numbers_in(a), numbers_in(b)
    return _states_more(left, right), _states_more(right, left)


def _states_more(mine: Numbers, others: Numbers) -> bool:
    known = {(one.dimension, one.value) for one in others.quantities}
    written = {*others.bare, *(one.number for one in others.quantities)}
    return any(
        (one.dimension, one.value) not in known and one.number not in others.bare for one in mine.quantities
    ) or (not written.issuperset(mine.bare))


def units_of_equal_quantities(a: Phrase, b: Phrase) -> frozenset[str]:
    """The unit words of the quantities that both texts have, in whatever units."""
    left, right = numbers_in(a).quantities, numbers_in(b).quantities
    equal = {(one.dimension, one.value) for one in left} & {(one.dimension, one.value) for one in right}
    return frozenset(one.unit for one in (*left, *right) if (one.dimension, one.value) in equal)


def _unmatched(mine: Sequence[Quantity], others: Sequence[Quantity]) -> list[Quantity]:
    known = Counter((one.dimension, one.value) for one in others)
    found = []
    for one in mine:
        if known[one.dimension, one.value]:
            known[one.dimension, one.value] -= 1
        else:
            found.append(one)
    return found


def _without(quantities: Sequence[Quantity], bare: Counter[Decimal]) -> Iterator[Quantity]:
    """Those whose number does not stand without a unit in the other text; takes it out of there."""
    for one in quantities:
        if bare[one.number]:
            bare[one.number] -= 1
        else:
            yield one


def _unit_at(words: Sequence[str], place: int) -> str | None:
    two = "_".join(words[place : place + 2])
    one = words[place] if place < len(words) else ""
    return next((unit for unit in (two, one) if unit in UNITS), None)
