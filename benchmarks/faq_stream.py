"""An FAQ bot's questions, written by hand: an energy supplier, a university, a town hall and a gym.

    python benchmarks/faq_stream.py > faqs.jsonl
    python benchmarks/time_to_value.py faqs.jsonl others.jsonl --seeded --faqs 40

Each FAQ is asked in four ways by eight people, with openings, thanks and typing errors of their own, and beside it
stand two questions that look like it and want another answer. ``others.jsonl`` holds more questions, asked once and
with a label each.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

FAQS = Path(__file__).with_name("faqs.txt")  # each line: ways to ask | near misses
OPENINGS = ("", "hi, ", "hello, ", "please tell me: ", "quick question: ", "good morning, ", "excuse me, ", "sorry, ")
ENDINGS = ("", "?", " please?", "? thanks", "??", " - thank you")


def main() -> None:
    rng = random.Random(0)
    for number, line in enumerate(FAQS.read_text().splitlines()[1:]):
        asked, near = ([one.strip() for one in part.split(";")] for part in line.split("|"))
        for text in dict.fromkeys(worded(asked, rng)):
            print(json.dumps({"t": text, "label": f"faq {number}"}))
        for place, text in enumerate(near):
            print(
                json.dumps({"t": rng.choice(OPENINGS) + text + rng.choice(ENDINGS), "label": f"near {number} {place}"})
            )


def worded(texts: list[str], rng: random.Random) -> Iterator[str]:
    """Each text as eight people ask it."""
    for text in texts:
        for opening in OPENINGS:
            yield with_typing_error(opening + text + rng.choice(ENDINGS), rng)


def with_typing_error(text: str, rng: random.Random) -> str:
    """One in five has two letters of a longer word exchanged."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if long and rng.random() < 0.2:
        place = rng.choice(long)
        word, at = words[place], rng.randrange(1, len(words[place]) - 2)
        words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


if __name__ == "__main__":
    main()
