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

from costguard_core.cache import CachePolicy
from costguard_core.cache.semantic.comparator.comparator import TextComparator
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
    """A lookup in a scope of 10,000 entries, without the embedding."""
    from costguard_core.cache import CacheKey
    from costguard_core.cache.semantic.engine import SemanticEngine
    from costguard_core.cache.semantic.index.base import Entry
    from costguard_core.cache.semantic.index.chroma import ChromaIndex
    from costguard_core.cache.semantic.query import SemanticQuery

    rng, many = np.random.default_rng(0), 10_000
    vectors = rng.normal(size=(many, 384)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        index = ChromaIndex(folder)
        entries = [
            Entry(str(place), f"question number {place} about subject {place % 97}", "{}", "answer", str(place), 0.0)
            for place in range(many)
        ]
        for start in range(0, many, _BATCH):  # in batches, because one by one takes minutes
            index.put_many("scope", entries[start : start + _BATCH], vectors[start : start + _BATCH].tolist())
        engine = SemanticEngine(index)
        asked = [SemanticQuery(f"question about {i}", "scope", CacheKey(digest=f"{i:040x}")) for i in range(300)]
        near = (vectors[:300] + 0.3 * rng.normal(size=(300, 384))).tolist()
        for one, vector in zip(asked[:50], near, strict=False):
            engine.lookup(one, vector)
        took = []
        for one, vector in zip(asked, near, strict=True):
            started = time.perf_counter()
            engine.lookup(one, vector)
            took.append(1000 * (time.perf_counter() - started))
        engine.close()
    return [{"check": "latency", "entries": many, "p50_ms": statistics.median(took), "p95_ms": sorted(took)[285]}]


def _embeddings(name: str) -> Embeddings:
    from semantic import embeddings_named

    return embeddings_named(name)


CHECKS: dict[str, Callable[[str], list[Row]]] = {
    "prompts": prompts,
    "flips": changed,
    "comparator": wordings,
    "latency": latency,
}
