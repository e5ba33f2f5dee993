"""An FAQ bot's questions, written by hand: an energy supplier, a university, a town hall and a gym (``faqs.txt``); a
library, a dentist, a software vendor and a hotel (``faqs2.txt``); 150 of ten services (``faqs3.txt``), by an author who
saw neither the rules nor the other files.

    python benchmarks/faq_stream.py > faqs.jsonl
    python benchmarks/faq_stream.py benchmarks/faqs2.txt --people 16 > faqs2.jsonl
    python benchmarks/time_to_value.py faqs.jsonl others.jsonl --seeded --faqs 40

Each FAQ is asked in four or five ways by eight people, with openings, thanks and typing errors of their own, and beside
it stand two questions that look like it and want another answer. ``others.jsonl`` holds more questions, asked once and
with a label each.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

FAQS = Path(__file__).with_name("faqs.txt")  # each line after the first: ways to ask | near misses
OPENINGS = ("", "hi, ", "hello, ", "please tell me: ", "quick question: ", "good morning, ", "excuse me, ", "sorry, ")
MORE_OPENINGS = ("dear team, ", "hey there, ", "good evening, ", "I have a question: ", "just wondering, ", "ok so ")
MORE_OPENINGS += ("one more thing: ", "do you know, ")
ENDINGS = ("", "?", " please?", "? thanks", "??", " - thank you")


def main() -> None:
    options = _parser().parse_args()
    openings = (*OPENINGS, *MORE_OPENINGS)[: options.people]
    rng = random.Random(0)
    for number, line in enumerate(options.file.read_text().splitlines()[1:]):
        asked, near = ([one.strip() for one in part.split(";")] for part in line.split("|"))
        for text in dict.fromkeys(worded(asked, openings, rng)):
            print(json.dumps({"t": text, "label": f"faq {number}"}))
        for place, text in enumerate(near):
            print(
                json.dumps({"t": rng.choice(OPENINGS) + text + rng.choice(ENDINGS), "label": f"near {number} {place}"})
            )


def worded(texts: Sequence[str], openings: Sequence[str], rng: random.Random) -> Iterator[str]:
    """Each text with each opening."""
    for text in texts:
        for opening in openings:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=FAQS, help="lines of ways to ask | near misses")
    parser.add_argument("--people", type=int, default=8, choices=range(1, 17), metavar="1 to 16")
    return parser


if __name__ == "__main__":
    main()
