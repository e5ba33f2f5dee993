"""The index in this process: large scopes are narrowed down before they are compared, and nothing near is lost."""

import random

import numpy as np
import pytest

from costguard_core.cache.semantic.index import vector_rows
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.index.memory import MemoryIndex

SIZE = 160


def entry(name):
    return Entry(name, "q", "{}", "t", "g", 0.0)


def unit(vector):
    return vector / np.linalg.norm(vector)


@pytest.fixture
def narrow(monkeypatch):
    """Narrowing begins at 200 entries, to 40."""
    monkeypatch.setattr(vector_rows, "_NARROW_FROM", 200)
    monkeypatch.setattr(vector_rows, "_MOST", 40)
    monkeypatch.setattr(vector_rows, "_FIRST", 20)


def brute(vectors, asked, k):
    names = list(vectors)
    cosines = np.array([vectors[name] for name in names]) @ asked
    best = np.argsort(cosines)[::-1][:k]
    return [(names[place], float(cosines[place])) for place in best]


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_that_are_near_are_those_of_a_full_comparison(narrow, seed):
    rng, lots = np.random.default_rng(seed), random.Random(seed)
    centres = rng.normal(size=(60, SIZE))
    index, kept = MemoryIndex(), {}
    for step in range(2500):
        if kept and lots.random() < 0.25:
            name = lots.choice(list(kept))
            del kept[name]
            index.delete("scope", [name])
        else:
            name = str(lots.randrange(1500))
            kept[name] = unit(centres[lots.randrange(60)] + 0.4 * rng.normal(size=SIZE))
            index.put("scope", entry(name), kept[name].tolist())
        if step % 25 == 0 and kept:
            asked = unit(kept[lots.choice(list(kept))] + 0.01 * rng.normal(size=SIZE))
            found = [(one.entry.id, one.similarity) for one in index.search("scope", asked.tolist(), 8)]
            expected = [row for row in brute(kept, asked, 8) if row[1] >= 0.8]
            assert len(found) == min(8, len(kept))
            assert [name for name, _ in found[: len(expected)]] == [name for name, _ in expected]
            assert [cosine for _, cosine in found[: len(expected)]] == pytest.approx([c for _, c in expected], abs=1e-5)
    assert index._scopes["scope"]._matrix._short
    index.delete("scope", list(kept))
    assert index.search("scope", [1.0] * SIZE, 8) == []


def test_no_neighbour_that_matters_is_missed_where_the_bounds_leave_few(monkeypatch):
    """Vectors as embeddings are: they differ in some directions much more than in others."""
    monkeypatch.setattr(vector_rows, "_NARROW_FROM", 200)
    rng = np.random.default_rng(0)
    spread = 1 / np.arange(1, SIZE + 1) ** 0.8
    kept = {str(number): unit(spread * rng.normal(size=SIZE)) for number in range(1200)}
    index = MemoryIndex()
    for name, vector in kept.items():
        index.put("scope", entry(name), vector.tolist())
    rows = index._scopes["scope"]._matrix
    compared = 0
    for _ in range(60):
        asked = unit(spread * rng.normal(size=SIZE))
        found = [(one.entry.id, one.similarity) for one in index.search("scope", asked.tolist(), 8)]
        expected = [row for row in brute(kept, asked, 8) if row[1] >= 0.5]
        assert [name for name, _ in found[: len(expected)]] == [name for name, _ in expected]
        compared += len(rows._narrowed(np.array(asked, dtype=np.float32), 8))
    assert compared < 60 * 600  # of 1,200 each


def test_vectors_all_alike_are_found_too(narrow):
    index = MemoryIndex()
    for number in range(300):
        index.put("scope", entry(str(number)), [1.0] * SIZE)
    found = index.search("scope", [1.0] * SIZE, 250)
    assert len({one.entry.id for one in found}) == 250
    assert all(one.similarity == pytest.approx(1.0, abs=1e-5) for one in found)


def test_it_is_narrowed_down_only_where_that_is_less_work(narrow):
    index = MemoryIndex()
    rng = np.random.default_rng(0)
    for number in range(300):
        index.put("short", entry(str(number)), rng.normal(size=100).tolist())
        index.put("long", entry(str(number)), rng.normal(size=SIZE).tolist())
    assert index._scopes["short"]._matrix._short == []
    assert index._scopes["long"]._matrix._short


def test_vectors_of_another_length_are_compared_with_their_like_only(narrow):
    index = MemoryIndex()
    rng = np.random.default_rng(0)
    for number in range(250):
        index.put("scope", entry(str(number)), rng.normal(size=SIZE).tolist())
    index.put("scope", entry("other"), [1.0, 0.0])
    assert [one.entry.id for one in index.search("scope", [1.0, 0.0], 8)] == ["other"]
    assert len(index.search("scope", rng.normal(size=SIZE).tolist(), 8)) == 8
