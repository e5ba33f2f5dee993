"""Where a semantic cache keeps its entries when nobody says where: in memory, and nothing in the working directory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from llama_index.core import MockEmbedding

import langchain_costguard
import llamaindex_costguard
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex

CACHES = [
    pytest.param(partial(langchain_costguard.SemanticCache, DeterministicFakeEmbedding(size=4)), id="langchain"),
    pytest.param(partial(llamaindex_costguard.SemanticCache, MockEmbedding(embed_dim=4)), id="llamaindex"),
]


def entry(id: str) -> Entry:
    return Entry(id=id, question="q", answer="", text="", group="", created=0.0)


@pytest.mark.parametrize("make", CACHES)
def test_nothing_is_written_unasked_and_caches_are_apart(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = make(), make()
    first.engine.index.put("scope", entry("1"), [1.0, 0.0, 0.0, 0.0])
    assert first.engine.index.count("scope") == 1
    assert second.engine.index.count("scope") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", CACHES)
def test_a_folder_of_an_earlier_release_is_opened_and_said(
    make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = make(path="costguard.chroma")
    asked.engine.index.put("0123", entry("1"), [1.0, 0.0, 0.0, 0.0])
    asked.close()
    unasked = make()
    assert unasked.engine.index.count("0123") == 1
    unasked.close()
    assert "path='costguard.chroma'" in caplog.text


def test_folders_of_the_same_name_are_apart_wherever_the_process_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = []
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        indexes.append(ChromaIndex("costguard.chroma"))
        indexes[-1].put("scope", entry(place), [1.0, 0.0])
    assert [[found.entry.id for found in index.search("scope", [1.0, 0.0], 9)] for index in indexes] == [
        ["first"],
        ["second"],
    ]
    for index in indexes:
        index.close()


def test_the_memory_finds_the_nearest_and_ignores_other_lengths() -> None:
    index = MemoryIndex()
    for number, vector in enumerate([[1.0, 0.0], [0.6, 0.8], [0.0, -2.0]]):
        index.put("s", entry(str(number)), vector)
    assert [(one.entry.id, round(one.similarity, 6)) for one in index.search("s", [0.0, 3.0], 2)] == [
        ("1", 0.8),
        ("0", 0.0),
    ]
    index.put("s", entry("odd"), [1.0])
    assert [one.entry.id for one in index.search("s", [0.0, 3.0], 9)] == ["1", "0", "2"]
    index.delete("s", ["0", "1", "2", "odd"])
    assert index.search("s", [0.0, 3.0], 9) == []
    assert index.scopes() == []
