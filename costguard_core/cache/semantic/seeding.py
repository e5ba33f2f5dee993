"""Written answers and their wordings as labels, so that promises need no traffic.

Two wordings of one answer are known to want the same; questions with different answers are known not to. Each wording
is asked twice of the others: with the other wordings of its answer there (the best candidate is right or wrong), and
without them, as a question that nobody has written an answer to (whatever would be served is wrong).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from costguard_core.cache.semantic.decision import MIN_SIMILARITY, Neighbour, Verdict, by_wordings, calibrated
from costguard_core.cache.semantic.evidence import Evidence
from costguard_core.cache.semantic.index.base import Found, Vector
from costguard_core.cache.semantic.query import SemanticQuery, question_digest
from costguard_core.errors import ConfigurationError

SEED_NEIGHBOURS = 16  # as many wordings as one answer may have, and the neighbours of a lookup; a choice


class Wording(NamedTuple):
    """A question that a written answer was stored for; ``group`` names its answer."""

    query: SemanticQuery
    vector: Vector
    group: str


class SeedLabel(NamedTuple):
    """What would have been decided for a wording, and whether that was right."""

    verdict: Verdict
    right: bool


def labels_of(evidence: Evidence, wording: Wording, found: Sequence[Found], neighbours: int) -> list[SeedLabel]:
    """The labels of one wording. ``found``: its nearest entries, itself among them."""
    digest = question_digest(wording.query)
    others = [evidence.neighbour(one, digest) for one in found if one.entry.id != wording.query.key.digest]
    group = evidence.group(wording.group)
    foreign = [one for one in others if one.group != group]
    kinds = (others, foreign) if len(foreign) < len(others) else (foreign,)
    kinds = (*kinds[:-1], _as_if_asked(kinds[-1]))
    return [label for kind in kinds if (label := _label(evidence, wording, group, kind[:neighbours])) is not None]


def learn_wordings(evidence: Evidence, wording: Wording, found: Sequence[Found], neighbours: int) -> None:
    """Learn from one wording what its likeliest written answer is, with the others of its own there, and without."""
    digest = question_digest(wording.query)
    others = [evidence.neighbour(one, digest) for one in found if one.entry.id != wording.query.key.digest]
    group = evidence.group(wording.group)
    foreign = [one for one in others if one.group != group]
    kinds = ((others, False),) if len(foreign) < len(others) else ()
    for kind, stranger in (*kinds, (foreign, True)):
        best = by_wordings(wording.query.question, kind[:neighbours])
        right = best is not None and best.neighbour.group == group
        evidence.written.learn_seed(None if best is None else best.probability, right=right, stranger=stranger)


def _label(evidence: Evidence, wording: Wording, group: str, others: Sequence[Neighbour]) -> SeedLabel | None:
    verdict = calibrated(wording.query.question, others, evidence)
    best = verdict.neighbour
    if best is None or best.similarity < MIN_SIMILARITY or not verdict.features:
        return None
    return SeedLabel(verdict, best.group == group)


def _as_if_asked(others: Sequence[Neighbour]) -> list[Neighbour]:
    """The neighbours without one wording of the answer that nobody is asked about: a question has one fewer wording of
    its own answer here than it will have, so it has one fewer of any other."""
    if not others:
        return []
    mates = [one for one in others[1:] if one.group == others[0].group]
    return [one for one in others if not mates or one is not mates[-1]]


def wordings_of(answers: Mapping[str, str], paraphrases: Mapping[str, Sequence[str]] | None) -> dict[str, list[str]]:
    """Question → all its wordings, itself first, each once.

    Raises:
        ConfigurationError: a text where a list belongs, or paraphrases of a question that has no answer.
    """
    given = paraphrases or {}
    for question, wordings in given.items():
        if question not in answers:
            raise ConfigurationError(f"paraphrases of {question[:60]!r}, which has no answer among those to seed")
        if isinstance(wordings, str) or not all(isinstance(one, str) for one in wordings):
            raise ConfigurationError("paraphrases is a mapping of questions to lists of other wordings")
    return {question: list(dict.fromkeys((question, *given.get(question, ())))) for question in answers}
