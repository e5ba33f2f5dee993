"""The semantic cache on the page: near questions with both answers, and a person's word on them.

Only behind a token: questions and answers are shown, and what is said changes what is served.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

from costguard_core.cache.semantic.existing import embedder, opened
from costguard_core.cache.semantic.review import Change, Reviewable, find_pair, judge, pairs_to_review, reason_of
from costguard_core.errors import ConfigurationError
from costguard_core.util.lru import LRUMap
from costguard_core.util.text import printable

# Choices. Each entry that is looked at takes a search, some milliseconds.
_NEWEST, _MOST_PAIRS = 500, 50
_LONGEST_QUESTION, _LONGEST_ANSWER = 300, 600
_MOST_TOLD = 100


class PairRow(NamedTuple):
    """A pair as it is shown; every text is made safe for a terminal, and is escaped by the template."""

    id: str
    similarity: float
    served: bool
    reason: str
    questions: tuple[str, str]
    answers: tuple[str, str]


class Told(NamedTuple):
    """What somebody said of a pair, and what that changed."""

    same: bool
    questions: tuple[str, str]
    before: str
    after: str
    changes: tuple[tuple[str, str, str], ...]
    confirmed: int
    refuted: int


@dataclass
class CacheReview:
    """A cache that an application filled, for review.

    Args:
        where: its folder, or the URL of its server.
        name: which cache, where there are several.
        embedding: its embedding model, ``"wordllama"`` or ``"minilm"``.
        least: cosine from which pairs are shown.
    """

    where: str
    name: str | None = None
    embedding: str = "wordllama"
    least: float = 0.8
    _told: LRUMap[str, Told] = field(default_factory=lambda: LRUMap(_MOST_TOLD), init=False)
    _turn: Lock = field(default_factory=Lock, init=False)  # a folder is opened once at a time

    def pairs(self) -> list[PairRow]:
        """The pairs around the newest entries: first what would be served, then near misses.

        Raises:
            ConfigurationError: there is no cache, or it cannot be used now.
        """
        with self._turn, opened(self.where, self.name, claim=False, embedding=self.embedding) as engine:
            found = pairs_to_review(engine, embedder(self.embedding), least=self.least, newest=_NEWEST)
        return [_row(pair) for pair in found[:_MOST_PAIRS]]

    def judge(self, pair: str, *, same: bool) -> None:
        """Say of a pair whether both questions want the same answer.

        Raises:
            ConfigurationError: there is no such pair any more, or the cache cannot be used now.
        """
        with self._turn, opened(self.where, self.name, embedding=self.embedding) as engine:
            embed = embedder(self.embedding)
            found = find_pair(pairs_to_review(engine, embed, least=self.least, newest=_NEWEST), pair) if pair else None
            if found is None:
                raise ConfigurationError("this pair is not there any more: load the page again")
            change = judge(engine, embed, found, same=same)
        self._told.put(pair, _told(found, change, same=same))

    def told(self, pair: str) -> Told | None:
        """What was said of a pair on this page, if it was."""
        return self._told.get(pair)


def _row(pair: Reviewable) -> PairRow:
    return PairRow(
        pair.id,
        pair.similarity,
        pair.verdict.hit,
        printable(reason_of(pair), most=_LONGEST_QUESTION),
        _questions(pair),
        (_shown(pair.entry.text, _LONGEST_ANSWER), _shown(pair.other.text, _LONGEST_ANSWER)),
    )


def _told(pair: Reviewable, change: Change, *, same: bool) -> Told:
    levels = (
        ("serves from a probability of", change.cutoff_before, change.cutoff_after),
        ("serves nearly the same words from a similarity of", change.close_before, change.close_after),
    )
    return Told(
        same,
        _questions(pair),
        printable(change.before.reason, most=_LONGEST_QUESTION),
        printable(change.after.reason, most=_LONGEST_QUESTION),
        tuple((what, _level(before), _level(after)) for what, before, after in levels),
        change.confirmed,
        change.refuted,
    )


def _questions(pair: Reviewable) -> tuple[str, str]:
    return _shown(pair.entry.question, _LONGEST_QUESTION), _shown(pair.other.question, _LONGEST_QUESTION)


def _shown(text: str, most: int) -> str:
    return printable(" ".join(text.split()), most=most)


def _level(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "nothing"
