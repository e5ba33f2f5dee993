"""Topics by example: which of a few named kinds of request is this one like, or none of them.

For topics ("a plain FAQ", "a long document to summarise"), not for difficulty: examples of simple and hard questions
rank close to chance (measured .44-.63 APGR, with and without an embedding model).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log, sqrt

from costguard_core.errors import ConfigurationError
from costguard_core.routing.learning.features import excerpt, tokens
from costguard_core.routing.request import Request
from costguard_core.routing.scores import Reason, Score

Vector = Mapping[str, float]
Embed = Callable[[str], Sequence[float]]

AT_LEAST = 0.25  # cosine below which a request is none of the topics; with an embedding model pass your own
_SHORTEST = 3  # letters of the stems below, so that "order", "orders" and "ordered" meet


@dataclass(frozen=True, slots=True)
class Examples:
    """Names the topic whose nearest example is most like the request. See :func:`examples`."""

    topics: tuple[tuple[str, tuple[Vector, ...]], ...]
    vector: Callable[[str], Vector]
    tiers: Mapping[str, str]
    at_least: float

    def __call__(self, request: Request) -> Score | None:
        seen = self.similarities(request.text)
        topic, similarity = max(seen.items(), key=lambda item: item[1])
        if similarity < self.at_least:
            return None
        reasons = (Reason(f"like {topic}", similarity), *_others(seen, topic))
        return Score(similarity, reasons, tier=self.tiers.get(topic, topic))

    def similarities(self, text: str) -> dict[str, float]:
        """Per topic the cosine (0..1) with its nearest example: what the decision was made from."""
        asked = self.vector(excerpt(text))
        return {name: max((_cosine(asked, example) for example in known), default=0.0) for name, known in self.topics}


def examples(
    topics: Mapping[str, Iterable[str]],
    *,
    tiers: Mapping[str, str] | None = None,
    at_least: float | None = None,
    embed: Embed | None = None,
) -> Examples:
    """Route by topic.

    Args:
        topics: name to a handful of example requests.
        tiers: topic name to tier name; a topic that is not listed names its tier itself.
        at_least: cosine similarity below which the answer is *none of these* (no opinion).
        embed: an embedding function; without one, rare shared words count most (TF-IDF over the examples).

    Raises:
        ConfigurationError: no topic, or a topic without examples.
    """
    given = {name: tuple(texts) for name, texts in topics.items()}
    if not given or not all(given.values()):
        raise ConfigurationError('examples() needs topics with examples: examples({"faq": ["When do you open?", ...]})')
    vector = _embedded(embed) if embed else _tf_idf([text for texts in given.values() for text in texts])
    known = tuple((name, tuple(vector(excerpt(text)) for text in texts)) for name, texts in given.items())
    return Examples(known, vector, dict(tiers or {}), AT_LEAST if at_least is None else at_least)


def _others(seen: Mapping[str, float], topic: str) -> tuple[Reason, ...]:
    rest = sorted(((name, value) for name, value in seen.items() if name != topic), key=lambda item: -item[1])
    return tuple(Reason(f"not {name}", value) for name, value in rest[:2])


def _tf_idf(corpus: Sequence[str]) -> Callable[[str], Vector]:
    stems = [set(_stems(text)) for text in corpus]
    counts = Counter(stem for found in stems for stem in found)
    rarity = {stem: log((len(corpus) + 1) / (count + 0.5)) for stem, count in counts.items()}
    unknown = log((len(corpus) + 1) / 0.5)

    def vector(text: str) -> Vector:
        return _unit({stem: rarity.get(stem, unknown) for stem in _stems(text)})

    return vector


def _embedded(embed: Embed) -> Callable[[str], Vector]:
    def vector(text: str) -> Vector:
        return _unit({str(place): value for place, value in enumerate(embed(text))})

    return vector


def _stems(text: str) -> list[str]:
    return [word[:5] for word in tokens(text) if len(word) >= _SHORTEST or not word.isascii()]


def _unit(values: Mapping[str, float]) -> Vector:
    length = sqrt(sum(value * value for value in values.values())) or 1.0
    return {name: value / length for name, value in values.items()}


def _cosine(one: Vector, other: Vector) -> float:
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return sum(value * large.get(name, 0.0) for name, value in small.items())
