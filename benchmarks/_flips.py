# ruff: noqa: E501 -- questions and answers are data
"""Questions changed in one place so that the answer changes: number, negation, opposite, arguments exchanged, entity."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

# {n}: a number. Every base question is asked about several things, so that flips are many.
_BASES = (
    """
how long is the warranty on the {n} year plan|what does shipping cost for {n} items|can i return an order within {n} days
is a tip of {n} percent normal in italy|which train leaves paris at {n}|how do i split a bill between {n} people
what is the fee for a transfer of {n} dollars|how many grams are in {n} ounces|set the oven to {n} degrees
remind me in {n} minutes to call the bank|is {n} mg of ibuprofen too much for an adult|what are the best {n} movies of the year
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
_PLAIN = (
    """
can i cancel my subscription online|is it safe to mix bleach and water|which foods are allowed on this diet|do i need a visa for japan
are dogs welcome in the hotel|will my parcel arrive on saturday|is the museum open on public holidays|can students apply for the discount
does the premium plan include support|should i take this medicine with food|is remote work possible in this job|can the card be used abroad
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
_OPPOSITES = [
    pair.split("/")
    for pair in (
        "enable/disable open/close buy/sell increase/decrease upload/download lock/unlock import/export cheapest/dearest "
        "before/after minimum/maximum oldest/newest hot/cold accept/reject start/stop add/remove deposit/withdraw early/late "
        "mute/unmute encrypt/decrypt arrive/depart highest/lowest legal/illegal public/private first/last"
    ).split()
]
_FRAMES = (
    "how do i {} it in the app|what happens when i {} the account|what is the {} option that you have|can you tell me about {} mode|"
    "where can i see the {} one|is there a way to {} everything at once|why does the system {} my file|i want the {} version of the report"
).split("|")
_SWAPS = (
    "convert 50 {} to {}|flights from {} to {} in june|is {} faster than {}|does {} owe money to {}|how do i move data from {} to {}|"
    "can {} beat {} in chess|what is {} divided by {}|should i take {} before {}|trains from {} to {} on monday|is {} cheaper than {}"
).split("|")
_THINGS = "alpha,beta anna,peter gold,silver python,java usd,eur paris,rome tea,coffee iron,zinc north,east lisbon,porto".split()
_ENTITIES = (
    "what is the capital of {}|who founded {}|how is the weather in {}|what is the phone number of {}|tell me the history of {}|"
    "how do i get a refund from {}|what languages are spoken in {}|when does {} open on sunday|is there a bus to {}|what is the rating of {}"
).split("|")
_PLACES = "france,germany spain,portugal london,dublin toyota,honda adobe,oracle berlin,munich kenya,ghana texas,ohio ikea,lidl brazil,peru".split()


def flips(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Kind, question, changed question."""
    for kind, make in _KINDS.items():
        for left, right in make(rng):
            yield kind, left, right


def _numbers(rng: random.Random) -> Iterator[tuple[str, str]]:
    for base in _BASES:
        for _ in range(6):
            low = rng.randint(2, 40)
            yield base.format(n=low), base.format(n=low + rng.choice((1, 1, 2, 5, 10)))


def _negations(rng: random.Random) -> Iterator[tuple[str, str]]:
    for base in _PLAIN:
        first, rest = base.split(" ", 1)
        if first in ("can", "is", "do", "are", "will", "does", "should"):
            subject, predicate = rest.split(" ", 1)
            words = predicate.split()
            place = 1 if re.match(r"(the|this|my|premium)$", subject) else 0
            yield base, " ".join([first, subject, *words[:place], "not", *words[place:]])
        yield base, f"{base} or is that never the case"
    for frame in _FRAMES:
        yield frame.format("start"), frame.format("not start")


def _opposites(rng: random.Random) -> Iterator[tuple[str, str]]:
    for left, right in _OPPOSITES:
        for frame in _FRAMES:
            yield frame.format(left), frame.format(right)


def _swapped(rng: random.Random) -> Iterator[tuple[str, str]]:
    for frame in _SWAPS:
        for pair in _THINGS:
            left, right = pair.split(",")
            yield frame.format(left, right), frame.format(right, left)


def _entities(rng: random.Random) -> Iterator[tuple[str, str]]:
    for frame in _ENTITIES:
        for pair in _PLACES:
            left, right = pair.split(",")
            yield frame.format(left), frame.format(right)


_KINDS: dict[str, Callable[[random.Random], Iterator[tuple[str, str]]]] = {
    "number": _numbers,
    "negation": _negations,
    "opposite": _opposites,
    "order": _swapped,
    "entity": _entities,
}
