# ruff: noqa: E501 -- questions and answers are data
"""A second generator of made-up answers, in styles that :mod:`_answers` does not have: steps, apologies, the question
restated, telegrams; and answers that are only a price, a place, a topic or a yes or no."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from _answers import topic_of

_VERBS = "submit verify collect transfer print renew activate compare schedule upload".split()
_THINGS = "passport invoice router garden ledger helmet violin mortgage vaccine parcel tent kettle licence thesis drone".split()
_WAYS = "online|at the counter|by phone|through the portal|in person|by post|with a colleague".split("|")
_PLACES = "Lisbon Oslo Dublin Turin Vienna Porto Ghent Basel".split()


class Facts(NamedTuple):
    """What is true of a class."""

    topic: str
    verb: str
    thing: str
    way: str
    place: str
    days: int
    cost: int
    possible: bool

    @classmethod
    def of(cls, label: str) -> Facts:
        rng = random.Random(f"second facts of {label}")
        chosen = rng.choice(_VERBS), rng.choice(_THINGS), rng.choice(_WAYS), rng.choice(_PLACES)
        return cls(topic_of(label), *chosen, rng.randint(2, 30), rng.randint(5, 250), rng.random() < 0.5)


def styled(label: str, wording: random.Random) -> str:
    """All facts of the class, in one of four styles."""
    return wording.choice((_steps, _apology, _restated, _telegram))(Facts.of(label), wording)


def price(label: str, wording: random.Random) -> str:
    cost = Facts.of(label).cost
    return wording.choice(
        (
            f"It costs ${cost}.",
            f"The price is {cost} dollars.",
            f"You pay ${cost} in total.",
            f"${cost}",
            f"That would be ${cost}.",
        )
    )


def place(label: str, wording: random.Random) -> str:
    place = Facts.of(label).place
    return wording.choice(
        (
            f"The office is in {place}.",
            f"You will find it in {place}.",
            f"It is located in {place}.",
            f"{place}.",
            f"We have one in {place}.",
        )
    )


def topic(label: str, wording: random.Random) -> str:
    told = topic_of(label)
    return wording.choice(
        (
            f"Certainly, I can help with {told}.",
            f"I understand you need {told}. Let me take care of that right away.",
            f"Sure thing, {told} coming up!",
            f"No problem at all. Your request for {told} was received.",
            f"Okay. Processing {told} now, please hold on.",
            f"Let me help you with that: {told}.",
            f"Your {told} request is being handled by our team.",
        )
    )


def yes_or_no(label: str, wording: random.Random) -> str:
    facts = Facts.of(label)
    if facts.possible:
        return wording.choice(
            (
                f"Yes, {facts.topic} is possible.",
                f"Absolutely, you can do that: {facts.topic} is supported.",
                f"{facts.topic.capitalize()} works, yes.",
            )
        )
    return wording.choice(
        (
            f"No, {facts.topic} is not possible.",
            f"Unfortunately {facts.topic} is not supported.",
            f"I'm afraid {facts.topic} isn't available.",
        )
    )


def _steps(facts: Facts, wording: random.Random) -> str:
    head = wording.choice(
        (f"Steps for {facts.topic}:", "Here's what to do:", "To do this:", f"{facts.topic.capitalize()} in short")
    )
    mark = wording.choice(("- ", "* ", "1) "))
    steps = f"{facts.verb.capitalize()} the {facts.thing} {facts.way}", f"Pay ${facts.cost}", f"Wait {facts.days} days"
    return "\n".join([head, *(mark + step for step in steps)])


def _apology(facts: Facts, wording: random.Random) -> str:
    sorry = wording.choice(
        (
            "I'm sorry for the trouble! ",
            "Apologies for any confusion. ",
            "Sorry to hear that. ",
            "Oh no, that's annoying. ",
        )
    )
    return sorry + wording.choice(
        (
            f"Regarding {facts.topic}, you would have to {facts.verb} your {facts.thing} {facts.way}. The charge comes to ${facts.cost}, and we normally finish in {facts.days} days.",
            f"What helps with {facts.topic} is to {facts.verb} the {facts.thing} {facts.way}; that's {facts.cost} dollars and {facts.days} days of patience.",
        )
    )


def _restated(facts: Facts, wording: random.Random) -> str:
    head = wording.choice(
        (
            f"You're asking about {facts.topic}. ",
            f"When it comes to {facts.topic}: ",
            f"Great question about {facts.topic}! ",
            f"As for {facts.topic}, ",
        )
    )
    told = wording.choice(
        (
            f"{facts.verb} the {facts.thing} {facts.way} and set aside ${facts.cost}. It will be done after {facts.days} days.",
            f"that is {facts.cost} dollars. It takes {facts.days} days once you {facts.verb} your {facts.thing} {facts.way}.",
        )
    )
    return head + told + wording.choice(("", " Anything else I can do?", " Happy to clarify further."))


def _telegram(facts: Facts, wording: random.Random) -> str:
    return wording.choice(
        (
            f"{facts.verb.capitalize()} {facts.thing} {facts.way}; ${facts.cost}, {facts.days} days.",
            f"{facts.thing.capitalize()}: {facts.verb} {facts.way} ({facts.days} days, ${facts.cost}).",
        )
    )


Generator = Callable[[str, random.Random], str]
