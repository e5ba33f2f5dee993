"""The vectors of one scope in one NumPy array, and the nearest of them."""

from __future__ import annotations

from array import array
from typing import Any

# Choices. Below the first, a comparison with every vector takes little longer than narrowing them down.
_NARROW_FROM = 16_384  # vectors
_REBUILD_AFTER = 4  # times as many vectors as the directions were found from
_DIRECTIONS, _CANDIDATES, _SAMPLE = 64, 1024, 4096
_SEED = 0


class VectorRows:
    """Vectors of length one as the rows of an array that grows by doubling; the last row takes the place of a deleted
    one.

    Comparing with 100,000 vectors of 384 numbers means to read 150 MB. So in large scopes the 1,024 rows are found
    first that are nearest in the 64 directions in which the vectors differ most, and only these are compared in full.
    A row that is near in all directions is near in these, too: of the neighbours at a cosine of .8 and more none was
    missed in 100,000 (docs/semantic.md).
    """

    def __init__(self) -> None:
        self._rows: Any = None
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._mixed = False  # vectors of several lengths: somebody changed the embedding model
        self._basis: Any = None  # the directions, as columns
        self._short: Any = None  # the rows in these directions
        self._found_from = 0  # vectors, when the directions were found

    def holds_only(self, size: int) -> bool:
        return not self._mixed and (self._rows is None or self._rows.shape[1] == size)

    def put(self, name: str, unit: array[float]) -> None:
        import numpy as np

        if self._rows is None:
            self._rows = np.zeros((64, len(unit)), dtype=np.float32)
        if len(unit) != self._rows.shape[1]:
            self._mixed = True
        if self._mixed:
            return
        place = self._places.get(name)
        if place is None:
            place = self._places[name] = len(self._ids)
            self._ids.append(name)
            if place == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
                if self._short is not None:
                    self._short = np.concatenate([self._short, np.zeros_like(self._short)])
        self._rows[place] = unit
        if self._basis is not None:
            self._short[place] = self._rows[place] @ self._basis
        if len(self._ids) >= max(_NARROW_FROM, _REBUILD_AFTER * self._found_from) and len(unit) > 2 * _DIRECTIONS:
            self._find_directions()

    def delete(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != name:
            self._ids[place], self._places[last] = last, place
            self._rows[place] = self._rows[len(self._ids)]
            if self._short is not None:
                self._short[place] = self._short[len(self._ids)]

    def nearest(self, unit: list[float], k: int) -> list[tuple[float, str]]:
        """Cosines and names of the ``k`` nearest, nearest first."""
        import numpy as np

        count = len(self._ids)
        if not count:
            return []
        asked = np.array(unit, dtype=np.float32)
        if self._short is None or count < _NARROW_FROM:
            cosines = _products(self._rows[:count], asked)
            places = np.arange(count) if count <= k else np.argpartition(cosines, -k)[-k:]
            return sorted(zip(cosines[places].tolist(), map(self._ids.__getitem__, places), strict=True), reverse=True)
        near = _products(self._short[:count], asked @ self._basis)
        most = min(count, max(_CANDIDATES, 8 * k))
        candidates = near.argpartition(-most)[-most:] if most < count else np.arange(count)
        cosines = _products(self._rows[candidates], asked)
        best = np.argsort(cosines)[-k:]
        names = map(self._ids.__getitem__, candidates[best])
        return sorted(zip(cosines[best].tolist(), names, strict=True), reverse=True)

    def _find_directions(self) -> None:
        """By subspace iteration over a sample (Halko et al., https://arxiv.org/abs/0909.4061, algorithm 4.4)."""
        import numpy as np

        count = self._found_from = len(self._ids)
        sample = self._rows[: count : max(1, count // _SAMPLE)]
        basis = np.random.default_rng(_SEED).normal(size=(self._rows.shape[1], _DIRECTIONS)).astype(np.float32)
        for _ in range(4):
            basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
        self._basis, self._short = basis, self._rows @ basis


def _products(rows: Any, vector: Any) -> Any:
    """Inner products, in this thread: on cores that others use, a BLAS that waits for its threads takes ten times as
    long."""
    import numpy as np

    return np.einsum("ij,j->i", rows, vector)
