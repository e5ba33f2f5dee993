"""The vectors of one scope in one NumPy array, and the nearest of them."""

from __future__ import annotations

from array import array
from typing import Any

# Choices. Below the first, a comparison with every vector takes little longer than narrowing them down.
_NARROW_FROM = 4096  # vectors
_REBUILD_AFTER = 4  # times as many vectors as the directions were found from
_DIRECTIONS = (80, 48)  # of the first block, and of the second
_SURE_FROM = 0.5  # cosine from which no neighbour is missed; no decision is made of less similar ones
_MOST, _FIRST, _SAMPLE = 2048, 64, 4096
_FEW = 8  # if no more than one row in so many is left, a block is read for those rows only
_SEED = 0
# Scaled by this and rounded, no two vectors of length 1 have an inner product that int16 does not hold.
_SCALE = 170
_ROUNDING = 1e-5  # of sums of float32


class VectorRows:
    """Vectors of length one as the rows of an array that grows by doubling; the last row takes the place of a deleted
    one.

    Comparing with 100,000 vectors of 384 numbers means to read 150 MB. So in large scopes the rows are first compared
    in the 80 directions in which they differ most, as whole numbers of 16 bits. What the rest can add is at most the
    product of both rests' lengths (Cauchy and Schwarz). Rows that may yet be among the nearest are compared in full,
    after 48 more directions if they are more than 2,048. Only if they still are, those of the highest bounds
    are taken, and a neighbour at a cosine of .5 and more can be missed.
    """

    def __init__(self) -> None:
        self._rows: Any = None
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._mixed = False  # vectors of several lengths: somebody changed the embedding model
        self._basis: Any = None  # the directions, as columns
        self._short: list[Any] = []  # for each block what :func:`_shortened` makes of the rows, as columns
        self._lost: Any = None  # the most that rounding took from a row in the first block, and in both
        self._found_from = 0  # vectors, when the directions were found
        self._unshortened: set[int] = set()  # places of rows that are new since the last search

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
                self._short = [np.concatenate([one, np.zeros_like(one)], axis=1) for one in self._short]
        self._rows[place] = unit
        if self._short:
            self._unshortened.add(place)
        if len(self._ids) >= max(_NARROW_FROM, _REBUILD_AFTER * self._found_from) and len(unit) > sum(_DIRECTIONS):
            self._find_directions()

    def delete(self, name: str) -> None:
        place = self._places.pop(name, None)
        if place is None:
            return
        last = self._ids.pop()
        end = len(self._ids)
        self._unshortened.discard(place)
        if last != name:
            self._ids[place], self._places[last] = last, place
            self._rows[place] = self._rows[end]
            for block in self._short:
                block[:, place] = block[:, end]
            if end in self._unshortened:
                self._unshortened.add(place)
        self._unshortened.discard(end)

    def nearest(self, unit: list[float], k: int) -> list[tuple[float, str]]:
        """Cosines and names of the ``k`` nearest, nearest first."""
        import numpy as np

        count = len(self._ids)
        k = min(k, count)
        if not k:
            return []
        asked = np.array(unit, dtype=np.float32)
        if not self._short or count < _NARROW_FROM:
            cosines = _products(self._rows[:count], asked)
            places = np.arange(count) if count <= k else np.argpartition(cosines, -k)[-k:]
            return sorted(zip(cosines[places].tolist(), map(self._ids.__getitem__, places), strict=True), reverse=True)
        self._shorten_new()
        places = self._narrowed(asked, k)
        cosines = _products(self._rows[places], asked)
        best = np.argsort(cosines)[-k:]
        names = map(self._ids.__getitem__, places[best])
        return sorted(zip(cosines[best].tolist(), names, strict=True), reverse=True)

    def _narrowed(self, asked: Any, k: int) -> Any:
        """The places of rows among which the ``k`` nearest are."""
        import numpy as np

        count, most = len(self._ids), max(_MOST, k)
        short, lost = _shortened(asked[None], self._basis)
        places: Any = slice(count)  # of the rows that may be among the nearest
        bounds: Any = None
        least, tried = _SURE_FROM, []
        for place, (block, column) in enumerate(zip(self._short, short, strict=True)):
            added = _whole_products(block[:, places], column[:, 0])
            if bounds is not None:  # what the rest can add is known better now
                bounds = bounds - self._short[place - 1][-1, places] * short[place - 1][-1, 0]
                added += bounds
            bounds = added
            tried.append(_places(places, _highest(bounds, max(_FIRST, k))))
            least = max(least, np.partition(_products(self._rows[tried[-1]], asked), -k)[-k])
            rounding = self._lost[place] * (1 + lost[place]) + lost[place] + _ROUNDING
            may_be = bounds >= np.int16(_SCALE**2 * (least - rounding))
            left = np.count_nonzero(may_be)
            if left <= most or _FEW * left < len(bounds):
                may_be = np.flatnonzero(may_be)
                places, bounds = _places(places, may_be), bounds[may_be]
            if left <= most:
                break
        if len(bounds) > most:
            places = _places(places, np.argpartition(bounds.astype(np.float32), -most)[-most:])
        return np.unique(np.concatenate([places, *tried]))

    def _shorten_new(self) -> None:
        """All of them at once: one by one takes forty times as long."""
        import numpy as np

        if self._unshortened:
            places = list(self._unshortened)
            short, lost = _shortened(self._rows[places], self._basis)
            for block, columns in zip(self._short, short, strict=True):
                block[:, places] = columns
            self._lost = np.maximum(self._lost, lost)
            self._unshortened.clear()

    def _find_directions(self) -> None:
        """By subspace iteration over a sample (Halko et al., https://arxiv.org/abs/0909.4061, algorithm 4.4), those in
        which the vectors differ most first."""
        import numpy as np

        count = self._found_from = len(self._ids)
        sample = self._rows[: count : max(1, count // _SAMPLE)]
        basis = np.random.default_rng(_SEED).normal(size=(self._rows.shape[1], sum(_DIRECTIONS))).astype(np.float32)
        for _ in range(4):
            basis, _ = np.linalg.qr(sample.T @ (sample @ basis))
        self._basis = basis @ np.linalg.svd(sample @ basis, full_matrices=False)[2].T
        self._short, self._lost = _shortened(self._rows, self._basis)
        self._unshortened.clear()


def _shortened(rows: Any, basis: Any) -> tuple[list[Any], Any]:
    """For each block its directions and, as one more, the length of what is left of the vector after it, scaled and in
    int16, so that the inner product of two of them is a bound of theirs; and what rounding took at most."""
    import numpy as np

    found = (rows @ basis).T
    whole = np.rint(found * np.float32(_SCALE))
    blocks, start = [], 0
    lost = np.zeros(len(_DIRECTIONS))
    left = np.ones(len(rows), np.float32) + np.float32(1e-6)  # sums are rounded
    off = np.zeros(len(rows), np.float32)
    for place, size in enumerate(_DIRECTIONS):
        block = slice(start, start + size)
        start += size
        left = left - np.einsum("ij,ij->j", found[block], found[block])
        off += np.einsum("ij->j", (found[block] - whole[block] / np.float32(_SCALE)) ** 2)
        lost[place] = np.sqrt(off.max())
        rest = np.ceil(np.sqrt(np.maximum(np.float32(1e-6), left)) * np.float32(_SCALE))
        blocks.append(np.ascontiguousarray(np.concatenate([whole[block], rest[None]]), dtype=np.int16))
    return blocks, lost


def _places(of: Any, chosen: Any) -> Any:
    """The places of what was chosen among rows that are all (a slice) or some of them."""
    return chosen if isinstance(of, slice) else of[chosen]


def _highest(bounds: Any, many: int) -> Any:
    """The places of about so many of the highest bounds, the highest of all among them: of each of as many stretches
    its highest. Sorting takes fifty times as long, and any rows do to begin with."""
    import numpy as np

    size = len(bounds) // many
    if size < 2:
        return np.arange(len(bounds))
    stretches = bounds[: size * many].reshape(many, size)
    return np.concatenate([stretches.argmax(axis=1) + size * np.arange(many), np.arange(size * many, len(bounds))])


def _products(rows: Any, vector: Any) -> Any:
    """Inner products, in this thread: on cores that others use, a BLAS that waits for its threads takes ten times as
    long."""
    import numpy as np

    return np.einsum("ij,j->i", rows, vector)


def _whole_products(columns: Any, vector: Any) -> Any:
    """Inner products of columns in whole numbers of 16 bits, which take a third of the time."""
    import numpy as np

    return np.einsum("ji,j->i", columns, vector)
