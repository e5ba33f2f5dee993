"""A scorer by topic: which of a few named kinds of request is this one most like, or none of them.

For topics ("a plain FAQ", "a long document to summarise"), not for difficulty: examples of simple and hard questions
rank close to chance (measured: .44 to .63 APGR, with and without an embedding model).
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

AT_LEAST = 0.25  # cosine below which a request is none of the topics (a choice, for TF-IDF)
_MIN_LETTERS = 3  # of an ASCII word that counts (a choice: shorter ones carry no topic)
_STEM = 5  # letters of a word that are compared, so that "order", "orders" and "ordered" are one (a choice)


@dataclass(frozen=True, slots=True)
class Examples:
    """Names the topic whose nearest example is most like the request. Made by :func:`examples`.

    Attributes:
        topics: each a name and the vectors of its examples.
        vector: the unit vector of a text.
        tiers: name of the tier of a topic, for those that are not the tier's own name.
        at_least: cosine below which a request is none of the topics.
    """

    topics: tuple[tuple[str, tuple[Vector, ...]], ...]
    vector: Callable[[str], Vector]
    tiers: Mapping[str, str]
    at_least: float

    def __call__(self, request: Request) -> Score | None:
        similarities = self.similarities(request.text)
        topic, similarity = max(similarities.items(), key=lambda item: item[1])
        if similarity < self.at_least:
            return None
        reasons = (Reason(f"like {topic}", similarity), *_runners_up(similarities, topic))
        return Score(similarity, reasons, tier=self.tiers.get(topic, topic))

    def similarities(self, text: str) -> dict[str, float]:
        """Per topic the cosine (0..1) with its nearest example, from which the decision is made."""
        vector = self.vector(excerpt(text))
        return {name: max((_cosine(vector, one) for one in known), default=0.0) for name, known in self.topics}


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
        at_least: cosine below which a request is none of the topics (no opinion); with an embedding model, measure it.
        embed: an embedding function; without one, rare shared words count most (TF-IDF over the examples).

    Raises:
        ConfigurationError: no topic, or a topic without examples.
    """
    named = {name: tuple(texts) for name, texts in topics.items()}
    if not named or not all(named.values()):
        raise ConfigurationError('examples() needs topics with examples: examples({"faq": ["When do you open?", ...]})')
    vector = _embedded(embed) if embed else _tf_idf([text for texts in named.values() for text in texts])
    vectors = tuple((name, tuple(vector(excerpt(text)) for text in texts)) for name, texts in named.items())
    return Examples(vectors, vector, dict(tiers or {}), AT_LEAST if at_least is None else at_least)


def _runners_up(similarities: Mapping[str, float], topic: str) -> tuple[Reason, ...]:
    rest = sorted(((name, value) for name, value in similarities.items() if name != topic), key=lambda item: -item[1])
    return tuple(Reason(f"not {name}", value) for name, value in rest[:2])


def _tf_idf(corpus: Sequence[str]) -> Callable[[str], Vector]:
    """Texts as vectors of their stems, weighted by rarity: log((n + 1) / (documents with it + .5))."""
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
    return [word[:_STEM] for word in tokens(text) if len(word) >= _MIN_LETTERS or not word.isascii()]


def _unit(values: Mapping[str, float]) -> Vector:
    length = sqrt(sum(value * value for value in values.values())) or 1.0
    return {name: value / length for name, value in values.items()}


def _cosine(one: Vector, other: Vector) -> float:
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return sum(value * large.get(name, 0.0) for name, value in small.items())
