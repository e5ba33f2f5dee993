"""A Chroma folder whose files are damaged costs no answer, and nothing in it is deleted."""

import logging
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from waiting import wait_until

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.query import SemanticQuery

QUESTION, VECTOR = "where is my order", [0.6, 0.8, 0.0]


def ask(engine):
    hit = engine.lookup(SemanticQuery(QUESTION, "scope", CacheKey(digest="1")), VECTOR)
    return None if hit is None else hit.answer.payload[0]


def tell(engine):
    return engine.save(
        SemanticQuery(QUESTION, "scope", CacheKey(digest="1")), VECTOR, Answer(payload=["Here."]), "Here."
    )


@pytest.fixture
def damaged(tmp_path):
    """A folder with one answer whose database was overwritten, and a copy from before."""
    folder, copy = tmp_path / "chroma", tmp_path / "copy"
    with closing(ChromaIndex(folder)) as index:
        engine = SemanticEngine(index, decide="guarded")
        assert tell(engine) is None
        assert ask(engine) == "Here."
    shutil.copytree(folder, copy)
    database = folder / "chroma.sqlite3"
    database.write_bytes(b"this is no database " * (database.stat().st_size // 20))
    return folder, copy


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["restored", "moved away"])
def test_a_damaged_folder_misses_warns_once_and_comes_back(damaged, caplog, way):
    folder, copy = damaged
    before = files_of(folder)
    caplog.set_level(logging.WARNING, logger="costguard.cache")
    with closing(ChromaIndex(folder)) as index:
        engine = SemanticEngine(index, decide="guarded")
        assert [ask(engine) for _ in range(5)] == [None] * 5
        assert tell(engine) == "the index failed"
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "the call is paid" in caplog.text
        assert engine.stats().errors >= 6
        after = files_of(folder)
        assert {name: after.get(name) for name in before} == before
        if way == "restored":
            shutil.copyfile(copy / "chroma.sqlite3", folder / "chroma.sqlite3")
        else:
            folder.rename(folder.with_name("broken"))
            wait_until(lambda: tell(engine) is None)
        wait_until(lambda: ask(engine) == "Here.")  # the index is left alone for a while after a failure
