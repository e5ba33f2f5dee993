"""The weights of ``costguard_core/cache/semantic/data/written_score.txt``, from labelled questions.

    python benchmarks/train_written_score.py SET.jsonl.gz ... --pairs fow_pairs.tsv > written_score.txt

Each set is as for ``time_to_value.py``. Its labels with most questions are seeded with two paraphrases, others of their
questions are asked (three of ten), and questions of no seeded label (seven of ten). A file of pairs (columns ``a``,
``b``, ``same``) is one set: each ``a`` is seeded alone, each ``b`` is asked.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from semantic import read

from costguard_core.cache.semantic.decision import Neighbour, objection
from costguard_core.cache.semantic.embeddings import open_local
from costguard_core.cache.semantic.written_score import NAMES, Wordings, features

Labelled = tuple[str, str]
Array = np.ndarray[Any, Any]
_RIDGE = 1.0
_NEAR, _GROUPS = 8, 3  # neighbours of a question, and answers among them that are looked at


def main() -> None:
    options = _parser().parse_args()
    rows: list[tuple[tuple[float, ...], bool, float]] = []
    for file in options.files:
        seeds, asked = _stream(Path(file), random.Random(options.seed))
        rows += _rows(seeds, asked)
    for file in options.pairs:
        with Path(file).open() as lines:
            pairs = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        seeds = [(pair["a"], str(place)) for place, pair in enumerate(pairs)]
        rows += _rows(
            seeds, [(pair["b"], str(place) if pair["same"] == "1" else "") for place, pair in enumerate(pairs)]
        )
    x, y, weights = (np.array(column) for column in zip(*rows, strict=True))
    fitted = _fit(x, y.astype(float), weights)
    print("# Weights of costguard_core.cache.semantic.written_score, made by benchmarks/train_written_score.py.")
    names = ", ".join(Path(file).name for file in (*options.files, *options.pairs))
    print(f"# Source: {names}. Licence: MIT, as the project; the sets keep their own.")
    for name, weight in zip(NAMES, fitted, strict=True):
        print(f"{name}: {weight:.4f}")


def _fit(x: Array, y: Array, weights: Array) -> Array:
    """Logistic regression in which no likeness speaks against a pair and no difference for it: in labels of people, who
    overlook equal questions, some would."""
    scale = np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    x, sign = x / scale, 2 * y - 1
    bounds = [(None, None), *[(0, None)] * 8, *[(None, 0)] * 2, (None, None)]
    assert len(bounds) == len(NAMES)

    def loss(w: Array) -> tuple[float, Array]:
        margin = sign * (x @ w)
        slope = -sign * weights * np.exp(-np.logaddexp(0, margin))
        return float((weights * np.logaddexp(0, -margin)).sum() + _RIDGE * (w @ w)), x.T @ slope + 2 * _RIDGE * w

    fitted = minimize(loss, np.zeros(len(NAMES)), jac=True, bounds=bounds, method="L-BFGS-B").x
    found: Array = fitted / scale
    return found


def _stream(file: Path, rng: random.Random) -> tuple[list[Labelled], list[Labelled]]:
    by_label: dict[str, list[str]] = defaultdict(list)
    for one in read(file):
        by_label[one.label].append(one.text)
    many = sorted((label for label in by_label if len(by_label[label]) >= 5), key=lambda one: -len(by_label[one]))[:300]
    seeds, repeats = [], []
    for label in many:
        texts = rng.sample(by_label[label], len(by_label[label]))
        seeds += [(text, label) for text in texts[:3]]
        repeats += [(text, label) for text in texts[3:]]
    strangers = [(texts[0], label) for label, texts in by_label.items() if len(texts) == 1]
    if len(strangers) < 100:
        raise SystemExit(f"{file}: fewer than 100 questions that are alone in their label")
    return seeds, rng.sample(repeats, min(1500, len(repeats))) + rng.sample(strangers, min(2000, len(strangers)))


def _rows(seeds: Sequence[Labelled], asked: Sequence[Labelled]) -> Iterator[tuple[tuple[float, ...], bool, float]]:
    """Features of the nearest answers that nothing speaks against, whether it is right, and the weight."""
    embedding, known = open_local("wordllama"), {label for _, label in seeds}
    stored = np.array(embedding.embed([text for text, _ in seeds]))
    vectors = np.array(embedding.embed([text for text, _ in asked]))
    repeats = sum(label in known for _, label in asked)
    for (text, label), vector in zip(asked, vectors, strict=True):
        weight = 1000 * (0.3 / repeats if label in known else 0.7 / (len(asked) - repeats))
        cosines = stored @ vector
        near = np.argsort(-cosines)[:_NEAR].tolist()
        found: dict[str, list[tuple[str, float]]] = {}
        for place in near:
            found.setdefault(seeds[place][1], []).append((seeds[place][0], float(cosines[place])))
        for answer, wordings in list(found.items())[:_GROUPS]:
            best, similarity = wordings[0]
            if objection(text, Neighbour("", best, similarity, answer)) is None:
                other = max((one[0][1] for name, one in found.items() if name != answer), default=0.0)
                yield features(text, Wordings(best, similarity, wordings[1:]), other), answer == label, weight


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="JSON lines, gzip too")
    parser.add_argument("--pairs", nargs="*", default=[], help="tab-separated pairs of questions")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
