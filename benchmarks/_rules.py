"""The rules that the semantic cache is compared with, on the same vectors."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_KEPT, _BLOCK = 100, 400
_GRID = [t / 200 for t in range(120, 200)]


class Neighbours:
    """For each question the nearest of those before it."""

    def __init__(self, vectors: Sequence[Sequence[float]]) -> None:
        x = np.asarray(vectors, dtype=np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        self._near = [row for start in range(0, len(x), _BLOCK) for row in _block(x, start)]

    def nearest(self, threshold: float) -> Iterator[tuple[int, int]]:
        """Pairs of a question and the nearest one before it, at least so similar."""
        for here, row in enumerate(self._near):
            if row and row[0][1] >= threshold:
                yield here, row[0][0]

    def fixed(self, labels: Sequence[str], threshold: float) -> tuple[float, float]:
        """Hit and wrong share of the rule "nearest stored, if similar enough"."""
        stored, hits, wrong = [False] * len(labels), 0, 0
        for here, row in enumerate(self._near):
            found = next(((there, s) for there, s in row if stored[there]), None)
            if found is not None and found[1] >= threshold:
                hits += 1
                wrong += labels[found[0]] != labels[here]
            else:
                stored[here] = True
        return hits / len(labels), wrong / len(labels)

    def fixed_at(self, labels: Sequence[str], rate: float) -> float:
        """The wrong share of the threshold that hits as often, between grid points by interpolation."""
        points = sorted(self.fixed(labels, threshold) for threshold in _GRID)
        return float(np.interp(rate, [0.0, *(hit for hit, _ in points)], [0.0, *(wrong for _, wrong in points)]))

    def vcache(self, labels: Sequence[str], max_error: float, seed: int) -> tuple[float, float]:
        """Each entry learns its own threshold from labelled repeats, and is explored when it is not sure."""
        rng, stored, hits, wrong = random.Random(seed), [False] * len(labels), 0, 0
        seen: dict[int, list[tuple[float, bool]]] = {}
        for here, row in enumerate(self._near):
            found = next(((there, s) for there, s in row if stored[there]), None)
            if found is not None:
                there, similarity = found
                history = seen.setdefault(there, [])
                sure = _sure(history, similarity)
                if rng.random() < min(1.0, max_error / max(1e-9, 1 - sure)):
                    hits += 1
                    wrong += labels[there] != labels[here]
                    continue
                history.append((similarity, labels[there] == labels[here]))
            stored[here] = True
        return hits / len(labels), wrong / len(labels)


def _block(x: Array, start: int) -> Iterator[list[tuple[int, float]]]:
    scores = x[start : start + _BLOCK] @ x[: start + _BLOCK].T
    for place, all_scores in enumerate(scores):
        row = all_scores[: start + place]
        many = min(_KEPT, len(row))
        if not many:
            yield []
            continue
        top = np.argpartition(-row, many - 1)[:many]
        yield [(int(there), float(row[there])) for there in top[np.argsort(-row[top])]]


def _sure(history: Sequence[tuple[float, bool]], similarity: float) -> float:
    """A cautious probability that the entry is right at this similarity; zero before six observations, two assumed."""
    observed = [(0.0, False), (1.0, True), *history]
    if len(observed) < 6:
        return 0.0
    fits = [(t, g, _likelihood(observed, t, g)) for t in np.linspace(0.4, 1.0, 25) for g in (5, 10, 20, 40, 80)]
    best = max(fit[2] for fit in fits)
    plausible = [_logistic(g * (similarity - t)) for t, g, likelihood in fits if likelihood >= best - 1.35]
    return min(plausible)


def _likelihood(observed: Sequence[tuple[float, bool]], threshold: float, slope: float) -> float:
    sure = ((_logistic(slope * (similarity - threshold)), right) for similarity, right in observed)
    chances = (chance if right else 1 - chance for chance, right in sure)
    return sum(math.log(max(chance, 1e-9)) for chance in chances)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-40.0, min(40.0, x))))
