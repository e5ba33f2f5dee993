"""Makes the word lists that come from WordNet and from public question sets. What it writes is committed.

    apt-get install wordnet-base
    python benchmarks/make_word_lists.py /usr/share/wordnet clinc150.jsonl.gz hwu64.jsonl.gz

WordNet: Princeton University, https://wordnet.princeton.edu, WordNet licence. The questions: clinc/oos-eval (CC BY 3.0)
and xliuhw/NLU-Evaluation-Data (CC BY 4.0); they add words that are younger than WordNet 3.0 (2006).
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

CORE = Path(__file__).resolve().parent.parent / "costguard_core" / "cache"
PARTS = ("noun", "verb", "adj", "adv")
_WORD = re.compile(r"[a-z]{2,20}")
_RARE_FILES = ("05", "20")  # lexicographer files of animals and plants, which are mostly Latin names
_MAX_SENSES = 2  # of each word and part of speech: rarer ones make synonyms of what nobody takes for such
_MIN_OCCURRENCES = 3  # in the question sets: once or twice, it may be misspelt
_LICENCE = (
    "Source: WordNet 3.0, Copyright 2006 by Princeton University. All rights reserved. Made by\n"
    "benchmarks/make_word_lists.py. Licence: WordNet licence, https://wordnet.princeton.edu/license-and-commercial-use:\n"
    "permission to use, copy, modify and distribute for any purpose and without fee, with this notice, as is."
)


class Sense(NamedTuple):
    part: str
    file: str
    words: tuple[str, ...]
    antonyms: tuple[tuple[str, str], ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path, help="folder with index.noun, data.noun, …")
    parser.add_argument("questions", type=Path, nargs="*", help="JSON lines with the text in t")
    options = parser.parse_args()
    senses = dict(_senses(options.wordnet))
    order = dict(_order(options.wordnet))
    common = {word for (_, word), (tagged, _) in order.items() if tagged}
    irregular = _irregular(options.wordnet, common)
    vocabulary = _vocabulary(order, senses) | set(irregular) | _of_questions(options.questions)
    _write(CORE / "language/data/en/vocabulary.txt.gz", "Words of English.", sorted(vocabulary))
    rows = sorted(f"{form} {base}" for form, base in irregular.items())
    _write(CORE / "language/data/en/irregular.txt.gz", "Irregular forms of common words, and the word.", rows)
    folder = CORE / "semantic/rules/data/en"
    _write(folder / "wordnet_synonyms.txt.gz", "Words of one meaning, line by line.", sorted(_synonyms(order, senses)))
    _write(folder / "wordnet_opposites.txt.gz", "Words of contrary meaning.", sorted(_antonyms(order, senses)))


def _write(path: Path, title: str, lines: Iterable[str]) -> None:
    header = "".join(f"# {line}\n" for line in (title, *_LICENCE.splitlines()))
    if "vocabulary" in path.name:
        header += "# Younger words: clinc/oos-eval (CC BY 3.0) and xliuhw/NLU-Evaluation-Data (CC BY 4.0).\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress((header + "\n".join(lines) + "\n").encode(), 9, mtime=0))
    print(path.relative_to(CORE), path.stat().st_size, "bytes")


def _senses(folder: Path) -> Iterator[tuple[tuple[str, str], Sense]]:
    """By part of speech and offset: https://wordnet.princeton.edu/documentation/wndb5wn"""
    for part in PARTS:
        rows = [line.split() for line in (folder / f"data.{part}").read_text("latin-1").splitlines() if line[0] != " "]
        words_at = {row[0]: [w.lower() for w in row[4 : 4 + 2 * int(row[3], 16) : 2]] for row in rows}
        for row in rows:
            words = [re.sub(r"\(\w+\)$", "", word) for word in words_at[row[0]]]
            start = 4 + 2 * len(words)
            pointers = [row[start + 1 + 4 * i : start + 5 + 4 * i] for i in range(int(row[start]))]
            antonyms = []
            for symbol, offset, _, places in pointers:
                mine, theirs = (int(place, 16) for place in (places[:2], places[2:]))
                if symbol == "!" and mine and offset in words_at:
                    antonyms.append((words[mine - 1], words_at[offset][theirs - 1]))
            yield (part, row[0]), Sense(part, row[1], tuple(words), tuple(antonyms))


def _order(folder: Path) -> Iterator[tuple[tuple[str, str], tuple[int, list[str]]]]:
    """By part of speech and word: how many senses occur in the tagged corpus, and all senses, most frequent first."""
    for part in PARTS:
        for line in (folder / f"index.{part}").read_text("latin-1").splitlines():
            if line[0] != " ":
                fields = line.split()
                pointers = int(fields[3])
                yield (part, fields[0]), (int(fields[5 + pointers]), fields[6 + pointers :])


def _vocabulary(order: dict[tuple[str, str], tuple[int, list[str]]], senses: dict[tuple[str, str], Sense]) -> set[str]:
    found = set()
    for (part, lemma), (tagged, offsets) in order.items():
        rare = all(senses[part, offset].file in _RARE_FILES for offset in offsets) and not tagged
        if not rare:
            found |= {word for word in re.split(r"[_-]", lemma) if _WORD.fullmatch(word) and (len(word) > 2 or tagged)}
    return found


def _irregular(folder: Path, common: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in ("adv", "adj", "noun", "verb"):  # the last one wins: "left" is of "leave"
        for line in (folder / f"{part}.exc").read_text("latin-1").splitlines():
            form, base, *_ = line.split()
            if base in common and _WORD.fullmatch(form) and form not in common and form != base:
                found[form] = base
    return found


def _of_questions(files: Iterable[Path]) -> set[str]:
    counts: Counter[str] = Counter()
    for file in files:
        with gzip.open(file, "rt") as lines:
            for line in lines:
                counts.update(set(_WORD.findall(json.loads(line)["t"].lower())))
    return {word for word, count in counts.items() if count >= _MIN_OCCURRENCES}


def _frequent(
    order: dict[tuple[str, str], tuple[int, list[str]]], senses: dict[tuple[str, str], Sense]
) -> dict[tuple[str, str], list[str]]:
    """The words of each sense that it is one of the first senses of."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (part, word), (_, offsets) in order.items():
        if _WORD.fullmatch(word):
            for offset in offsets[:_MAX_SENSES]:
                if word in senses[part, offset].words:
                    found[part, offset].append(word)
    return found


def _synonyms(order: dict[tuple[str, str], tuple[int, list[str]]], senses: dict[tuple[str, str], Sense]) -> set[str]:
    tagged = {key for key, (count, _) in order.items() if count}
    return {
        " ".join(sorted(set(words)))
        for (part, _), words in _frequent(order, senses).items()
        if len(set(words)) > 1 and any((part, word) in tagged for word in words)
    }


def _antonyms(order: dict[tuple[str, str], tuple[int, list[str]]], senses: dict[tuple[str, str], Sense]) -> set[str]:
    known = {word for _, word in order}
    pairs = (pair for sense in senses.values() for pair in sense.antonyms)
    return {" / ".join(sorted(pair)) for pair in pairs if all(_WORD.fullmatch(w) and w in known for w in pair)}


if __name__ == "__main__":
    main()
