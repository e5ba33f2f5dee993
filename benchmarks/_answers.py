# ruff: noqa: E501 -- questions and answers are data
"""Made-up answers in several wordings, for comparing free text: one set of facts per class, many ways to say them."""

from __future__ import annotations

import random

_TEAMS = (
    "billing travel support security lending kitchen music calendar shipping returns insurance pharmacy garden".split()
)
_PLACES = "Settings Profile Wallet Inbox Library Dashboard Orders Activity Devices Privacy Statements Planner".split()
_OBJECTS = "form receipt code letter link badge token card report invoice voucher certificate".split()
_OPENINGS = (
    "",
    "Sure! ",
    "Of course. ",
    "Happy to help. ",
    "Good question. ",
    "Thanks for asking! ",
    "Here is how it works: ",
)
_CLOSINGS = (
    "",
    " Let me know if you need anything else.",
    " I hope that helps!",
    " Is there anything else?",
    " Have a nice day.",
)
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def answer(label: str, wording: random.Random, *, facts: bool = True) -> str:
    """An answer of the class ``label``. ``facts`` are numbers and names that belong to the class; without them only the topic
    tells one class from another."""
    told = _told(label, wording) if facts else _topic_only(label, wording)
    return wording.choice(_OPENINGS) + told + wording.choice(_CLOSINGS)


def _told(label: str, wording: random.Random) -> str:
    rng = random.Random(f"facts of {label}")
    team, place, thing, days = rng.choice(_TEAMS), rng.choice(_PLACES), rng.choice(_OBJECTS), rng.randint(2, 12)
    extension, topic = rng.randint(100, 999), topic_of(label)
    time = wording.choice((f"{days} days", f"{_WORDS[days]} days"))
    return wording.choice(
        (
            f"For {topic}, open {place} and send the {thing}; it takes {time}. The {team} team is on extension {extension}.",
            f"You can do that under {place}: the {team} team ({extension}) needs your {thing} and answers about {topic} within {time}.",
            f"It's the {team} team that handles {topic}. Go to {place}, attach the {thing}, and wait {time}. Their extension is {extension}.",
            f"Within {time} the {team} desk will have dealt with {topic} once the {thing} is uploaded in {place} (ext. {extension}).",
            f"Please upload your {thing} in {place}. After {time} the {team} department, extension {extension}, gets back to you on {topic}.",
            f"{topic.capitalize()} is dealt with by {team}. Call {extension}, or use {place} to hand in the {thing}; allow {time}.",
        )
    )


def _topic_only(label: str, wording: random.Random) -> str:
    topic = topic_of(label)
    return wording.choice(
        (
            f"This is about {topic}. You will find everything you need on the page for {topic}.",
            f"You want {topic}: the assistant takes care of it now.",
            f"I have noted that you asked for {topic} and I am working on it.",
            f"All right, {topic} it is. Give me a moment.",
            f"Done. {topic.capitalize()} has been taken care of for you.",
        )
    )


def topic_of(label: str) -> str:
    """The words of a label: ``alarm_set|time=six`` is "alarm set time six"."""
    return " ".join(label.replace("|", " ").replace("=", " ").replace("_", " ").replace("#", " ").split())
