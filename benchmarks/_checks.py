# ruff: noqa: E501 -- questions and answers are data
"""The parts of the semantic benchmark that need no data."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import _styles
import numpy as np
from _answers import answer
from _flips import flips
from _styles import Generator
from langchain_core.embeddings import Embeddings
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration

from costguard_core.cache import CacheKey, CachePolicy
from costguard_core.cache.semantic.comparator.comparator import TextComparator
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Entry, Index
from costguard_core.cache.semantic.index.write_behind import put_all
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.cache.semantic.rules.lexical import veto
from langchain_costguard import SemanticCache

Row = dict[str, Any]

_LLM = 'benchmark---[("model", "benchmark")]'
_EVERYTHING = CachePolicy(cache_personal=True, cache_dynamic=True)
_SIMILAR = 0.90
_BATCH = 1_000
QUESTIONS = (
    """
Where is the refund for order 1182?|Where is the refund for order 1183?|Is aspirin safe during pregnancy?
Is aspirin unsafe during pregnancy?|How much is 100 USD to EUR?|How much is 100 EUR to USD?|What was our revenue in Q1 2024?
What was our revenue in Q2 2024?|Is the office closed on 3 May?|Is the office closed on 4 May?|How do I enable 2FA?|How do I disable 2FA?
Translate this to Spanish|Translate this to Italian|What is the capital of France?|What is the capital of Germany?
How do I cancel my subscription?|How do I renew my subscription?|What is the cheapest plan?|What is the most expensive plan?
Can I return worn shoes?|Can I not return worn shoes?|Who won the 1998 World Cup?|Who won the 2002 World Cup?
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
_FILLER = "You are a careful assistant of a shop that sells outdoor goods and answers every customer politely and briefly".split()


def prompts(embedding: str) -> list[Row]:
    """Different questions under one system prompt: every hit is wrong."""
    return list(_prompts(_embeddings(embedding)))


def _prompts(embeddings: Embeddings) -> Iterator[Row]:
    for words in (0, 50, 100, 300):
        system = " ".join(_FILLER[i % len(_FILLER)] for i in range(words))
        yield {
            "check": "24 different questions",
            "system_words": words,
            "calibrated_wrong": _wrong(embeddings, system, "calibrated"),
            "guarded_wrong": _wrong(embeddings, system, "guarded"),
            "whole_prompt_0.80_wrong": _fixed([_prompt(system, q) for q in QUESTIONS], embeddings, 0.80),
            "question_only_0.80_wrong": _fixed(QUESTIONS, embeddings, 0.80),
            "question_only_0.95_wrong": _fixed(QUESTIONS, embeddings, 0.95),
        }


def _wrong(embeddings: Embeddings, system: str, decide: Literal["calibrated", "guarded"]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        cache = SemanticCache(embeddings, path=folder, decide=decide, threshold=0.8, policy=_EVERYTHING)
        hits = 0
        for question in QUESTIONS:
            found = cache.lookup(_prompt(system, question), _LLM)
            hits += bool(found)
            if not found:
                cache.update(
                    _prompt(system, question), _LLM, [ChatGeneration(message=AIMessage(f"Answer to {question}"))]
                )
        cache.close()
    return hits


def _prompt(system: str, question: str) -> str:
    return dumps([*([SystemMessage(system)] if system else []), HumanMessage(question)])


def _fixed(texts: Sequence[str], embeddings: Embeddings, threshold: float) -> int:
    vectors = np.array(embeddings.embed_documents(list(texts)))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored: list[int] = []
    hits = 0
    for here in range(len(texts)):
        if stored and max(float(vectors[here] @ vectors[there]) for there in stored) >= threshold:
            hits += 1
        else:
            stored.append(here)
    return hits


def changed(embedding: str) -> list[Row]:
    """Flips that an embedding takes for the same question."""
    made = list(flips(random.Random(0)))
    embeddings = _embeddings(embedding)
    left = np.array(embeddings.embed_documents([a for _, a, _ in made]))
    right = np.array(embeddings.embed_documents([b for _, _, b in made]))
    similarity = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    rows = []
    for kind in dict.fromkeys(kind for kind, _, _ in made):
        chosen = [place for place, one in enumerate(made) if one[0] == kind]
        alike = [place for place in chosen if similarity[place] >= _SIMILAR]
        accepted = [place for place in alike if veto(made[place][1], made[place][2]) is None]
        anywhere = [place for place in chosen if veto(made[place][1], made[place][2]) is None]
        rows.append(
            {
                "check": "flips",
                "kind": kind,
                "pairs": len(chosen),
                "similarity_only_accepts": len(alike) / len(chosen),
                "accepted": len(accepted) / len(chosen),
                "accepted_at_any_similarity": len(anywhere) / len(chosen),
                "for_example": [made[place][1:] for place in anywhere[:2]],
            }
        )
    return rows


_TOPICS = "refund invoice alarm playlist shipment mortgage passport recipe insurance holiday contract battery".split()
_ASPECTS = "cost deadline contact status cancellation extension form history limit address".split()


def wordings(embedding: str) -> list[Row]:
    """How often the comparator errs on made-up answers in several wordings, among answers about nearly the same."""
    return [_wordings(told, make, key) for told, (make, key) in _GENERATORS.items()]


def _wordings(told: str, make: Generator, key: Callable[[str], object]) -> Row:
    rng, compare = random.Random(7), TextComparator()
    labels = [f"{a}_{b}" for a in _TOPICS for b in _ASPECTS]
    texts = [(label, make(label, rng)) for label in labels for _ in range(6)]
    rng.shuffle(texts)
    judged: dict[bool, list[bool | None]] = {True: [], False: []}
    for here, (label, text) in enumerate(texts):
        same = [one for one in texts[:here] if one[0] == label]
        other = [one for one in texts[:here] if _beside(one[0], label) and key(one[0]) != key(label)]
        for equal, chosen in ((True, same), (False, other)):
            judged[equal] += [compare(text, known).same for _, known in rng.sample(chosen, min(2, len(chosen)))]
        compare.observe(text)
    wrong = {equal: [same is not equal for same in found if same is not None] for equal, found in judged.items()}
    every = judged[True] + judged[False]
    return {
        "check": "comparator",
        "answers": told,
        "pairs": len(every),
        "error": statistics.mean(wrong[True] + wrong[False]),
        "same_called_different": statistics.mean(wrong[True]),
        "different_called_same": statistics.mean(wrong[False]),
        "cannot_tell": every.count(None) / len(every),
        "same_cannot_tell": judged[True].count(None) / len(judged[True]),
        "different_cannot_tell": judged[False].count(None) / len(judged[False]),
    }


def _beside(a: str, b: str) -> bool:
    """One word of two in common, so that the questions would be neighbours."""
    return a != b and not set(a.split("_")).isdisjoint(b.split("_"))


_GENERATORS: dict[str, tuple[Generator, Callable[[str], object]]] = {
    "facts": (answer, str),
    "only the topic": (partial(answer, facts=False), str),
    "facts, other styles": (_styles.styled, str),
    "only the topic, other styles": (_styles.topic, str),
    "only a price": (_styles.price, lambda label: _styles.Facts.of(label).cost),
    "only a place": (_styles.place, lambda label: _styles.Facts.of(label).place),
    "yes or no": (_styles.yes_or_no, str),
}


def latency(embedding: str) -> list[Row]:
    """A lookup without the embedding, of vectors of 384 numbers as MiniLM's, which lie in clusters as questions do: in
    Chroma's folder, a SQLite file, and the exact index that a cache without either has."""
    from costguard_core.cache.semantic.index.chroma import ChromaIndex
    from costguard_core.cache.semantic.index.memory import MemoryIndex
    from costguard_core.cache.semantic.index.sqlite import SqliteIndex

    rows = []
    for many in (10_000, 100_000):
        vectors, near = clustered(many)
        with tempfile.TemporaryDirectory() as folder:
            indexes: dict[str, Index] = {
                "chroma": ChromaIndex(f"{folder}/chroma"),
                "sqlite": SqliteIndex(f"{folder}/answers.db"),
                "exact": MemoryIndex(),
            }
            for name, index in indexes.items():
                fill(index, vectors)
                rows.append({"check": "latency", "index": name, "entries": many, **lookup_times(index, near)})
                index.close()
    return rows


def clustered(many: int) -> tuple[Any, Any]:
    """Vectors of stored questions, and of 300 that are asked."""
    rng, topics = np.random.default_rng(0), max(10, many // 50)
    centres = rng.normal(size=(topics, 384))
    vectors = centres[rng.integers(topics, size=many)] + 0.7 * rng.normal(size=(many, 384))
    return vectors.astype(np.float32), vectors[:300] + 0.3 * rng.normal(size=(300, 384))


def fill(index: Index, vectors: Any) -> None:
    """Store one entry per vector, in batches: one by one takes minutes."""
    for start in range(0, len(vectors), _BATCH):
        rows = [
            (Entry(str(start + i), f"question number {start + i} about {i % 97}", "{}", "answer", str(i), 0.0), vector)
            for i, vector in enumerate(vectors[start : start + _BATCH].tolist())
        ]
        put_all(index, "scope", rows)


def lookup_times(index: Index, near: Any) -> Row:
    engine = SemanticEngine(index)
    asked = [SemanticQuery(f"question about {i}", "scope", CacheKey(digest=f"{i:040x}")) for i in range(len(near))]
    took, cpu = [], []
    for one, vector in zip([*asked[:50], *asked], [*near[:50].tolist(), *near.tolist()], strict=True):
        started, started_cpu = time.perf_counter(), time.thread_time()
        engine.lookup(one, vector)
        cpu.append(1000 * (time.thread_time() - started_cpu))
        took.append(1000 * (time.perf_counter() - started))
    took, cpu = sorted(took[50:]), sorted(cpu[50:])  # the first fifty open what must be opened
    slow = int(0.95 * len(took))
    return {
        "p50_ms": statistics.median(took),
        "p95_ms": took[slow],
        "p50_cpu_ms": statistics.median(cpu),
        "p95_cpu_ms": cpu[slow],
    }


def lookup(vectors: Any, many: int) -> Row:
    """Lookups in the index in memory: 250 of the vectors are asked, the others are stored, and mixtures of two of them
    until there are ``many``."""
    from costguard_core.cache.semantic.index.memory import MemoryIndex

    rng = np.random.default_rng(0)
    vectors = np.asarray(vectors, dtype=np.float32)
    vectors = rng.permutation(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    asked, stored = vectors[:250], vectors[250 : 250 + many]
    left, right = (stored[rng.integers(len(stored), size=many - len(stored))] for _ in "ab")
    mixed = left + right
    stored = np.vstack([stored, mixed / np.linalg.norm(mixed, axis=1, keepdims=True)])
    index = MemoryIndex()
    fill(index, stored)
    times = lookup_times(index, asked)
    nearest = np.sort(asked @ stored.T, axis=1)[:, :-9:-1]
    found, cpu = [], []
    for vector in asked.tolist():
        started = time.thread_time()
        found.append(index.search("scope", vector, 8))
        cpu.append(1000 * (time.thread_time() - started))
    times["search_p50_cpu_ms"] = statistics.median(cpu)
    close = sum(int((row >= 0.5).sum()) for row in nearest)
    seen = sum(one.similarity >= 0.5 - 1e-5 for row in found for one in row)
    return {"check": "lookup", "index": "memory", "entries": many, **times, "nearest_from_.5": close, "found": seen}


def writes(embedding: str) -> list[Row]:
    """What storing a paid answer in Chroma's folder takes its caller: written at once, and in the background."""
    from costguard_core.cache import Answer
    from costguard_core.cache.semantic.index.chroma import ChromaIndex
    from costguard_core.cache.semantic.index.write_behind import WriteBehindIndex

    vectors, fresh = clustered(2000)
    took: dict[str, list[float]] = {"at once": [], "in the background": []}
    with tempfile.TemporaryDirectory() as folder:
        indexes: list[Index] = [ChromaIndex(f"{folder}/1"), WriteBehindIndex(ChromaIndex(f"{folder}/2"))]
        for index in indexes:
            fill(index, vectors)
        engines = [SemanticEngine(index) for index in indexes]
        for i, vector in enumerate(fresh.tolist()):
            for name, engine in zip(took, engines, strict=True):
                one = SemanticQuery(f"fresh question {i}", "scope", CacheKey(digest=f"{i:040x}"))
                started = time.perf_counter()
                engine.save(one, vector, Answer(payload=["answer"], choices=1), f"answer {i}")
                took[name].append(1000 * (time.perf_counter() - started))
            indexes[1].count("scope")  # waits for the background, so that the two do not share a disk at one moment
        for engine in engines:
            engine.close()
    p50 = {name: statistics.median(times) for name, times in took.items()}
    p95 = {name: sorted(times)[int(0.95 * len(times))] for name, times in took.items()}
    rows: list[Row] = [{"check": "writes", "how": name, "p50_ms": p50[name], "p95_ms": p95[name]} for name in took]
    return [*rows, {"check": "writes", "how": "ratio", "p50": p50["at once"] / p50["in the background"]}]


def _embeddings(name: str) -> Embeddings:
    from semantic import embeddings_named

    return embeddings_named(name)


CHECKS: dict[str, Callable[[str], list[Row]]] = {
    "prompts": prompts,
    "flips": changed,
    "comparator": wordings,
    "latency": latency,
    "writes": writes,
}
