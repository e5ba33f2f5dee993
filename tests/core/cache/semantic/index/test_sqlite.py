"""A SQLite file as the index: what processes that share it see, and what is left in the file."""

import multiprocessing
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_process import run_python

from costguard_core import ConfigurationError
from costguard_core.cache.exact.stores import open_cache_store
from costguard_core.cache.semantic.index import sqlite
from costguard_core.cache.semantic.index.base import Entry, IndexUnavailable
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.index.opening import open_index
from costguard_core.cache.semantic.index.sqlite import SqliteIndex

ONE, OTHER = [1.0, 0.0], [0.0, 1.0]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.db"


@pytest.fixture
def index(path):
    with closing(SqliteIndex(path)) as index:
        yield index


@pytest.fixture
def other(path):
    with closing(SqliteIndex(path)) as index:
        yield index


def entry(name, **fields):
    return Entry(name, f"question {name}", "{}", "text", name, 0.0, **fields)


def names(index, vector=ONE, scope="scope"):
    return [one.entry.id for one in index.search(scope, vector, 9)]


def test_processes_see_what_others_store_change_and_delete(index, path):
    program = """
        import sys
        from contextlib import closing
        from costguard_core.cache.semantic.index.base import Entry
        from costguard_core.cache.semantic.index.sqlite import SqliteIndex
        with closing(SqliteIndex(sys.argv[1])) as index:
            for step in sys.argv[2:]:
                if step.startswith("-"):
                    index.delete("scope", [step[1:]])
                elif step.startswith("="):
                    index.replace("scope", Entry(step[1:], "q", "{}", "t", "g", 0.0, refuted=("seen",)))
                else:
                    index.put("scope", Entry(step, "q", "{}", "t", "g", 0.0), [1.0, 0.0])
    """
    assert names(index) == []
    run_python(program, path, "1", "2", "3")
    assert sorted(names(index)) == ["1", "2", "3"]
    run_python(program, path, "-1", "=2", "4")
    found = {one.entry.id: one.entry.refuted for one in index.search("scope", ONE, 9)}
    assert found == {"2": ("seen",), "3": (), "4": ()}
    index.put("scope", entry("1"), OTHER)
    assert names(index, OTHER)[0] == "1"


def test_many_processes_write_at_once(index, path):
    program = """
        import sys
        from contextlib import closing
        from costguard_core.cache.semantic.index.base import Entry
        from costguard_core.cache.semantic.index.sqlite import SqliteIndex
        with closing(SqliteIndex(sys.argv[1])) as index:
            for number in range(40):
                index.put("scope", Entry(f"{sys.argv[2]}-{number}", "q", "{}", "t", "g", 0.0), [1.0, number])
                assert len(index.search("scope", [1.0, 0.0], 1000)) > number
    """
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda worker: run_python(program, path, worker), range(4)))
    assert index.count("scope") == 160
    assert len(index.search("scope", ONE, 1000)) == 160


def test_who_slept_through_too_many_changes_reads_everything_anew(index, other, monkeypatch):
    monkeypatch.setattr(sqlite, "_REMEMBERED", 3)
    for number in range(4):
        index.put("scope", entry(str(number)), ONE)
    assert sorted(names(other)) == ["0", "1", "2", "3"]
    for number in range(1, 4):
        index.delete("scope", [str(number)])
    for _ in range(9):
        index.put("scope", entry("later"), ONE)
    index.delete("scope", ["later"])
    with closing(sqlite3.connect(index.url.removeprefix("sqlite:///"))) as db:
        assert db.execute("SELECT id FROM costguard_semantic WHERE entry IS NULL").fetchall() == [("later",)]
    assert names(other) == names(index) == ["0"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "replace", "delete", "invalidate", "search", "reopen"]),
        st.sampled_from(["mine", "theirs"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 4),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_two_processes_agree_with_one_index_in_memory(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("index") / "answers.db"
    indexes, expected = {who: SqliteIndex(path) for who in ("mine", "theirs")}, MemoryIndex()
    for place, (step, who, scope, number) in enumerate(steps):
        index, one = indexes[who], entry(str(number), tags=(f"user={number % 2}",), cost=place)
        if step == "put":
            for each in (index, expected):
                each.put(scope, one, [1.0, float(number)])
        elif step == "replace":
            for each in (index, expected):
                each.replace(scope, one)
        elif step == "delete":
            for each in (index, expected):
                each.delete(scope, [one.id])
        elif step == "invalidate":
            assert index.invalidate(one.tags) == expected.invalidate(one.tags)
        elif step == "reopen":
            index.close()
            indexes[who] = SqliteIndex(path)
        else:
            found, wanted = index.search(scope, ONE, 9), expected.search(scope, ONE, 9)
            assert [each.entry for each in found] == [each.entry for each in wanted]
    for index in indexes.values():
        assert sorted(index.scopes()) == sorted(expected.scopes())
        index.close()


def test_nothing_of_what_was_erased_is_left_in_the_files(index, other, path):
    index.put("scope", Entry("1", "where is Berta", "{}", "Berta is in Rome " * 300, "g", 0.0, tags=("user=u1",)), ONE)
    index.put("scope", entry("2", tags=("user=u2",)), OTHER)
    assert sorted(names(other)) == ["1", "2"]
    assert b"Berta" in _bytes(path)
    assert other.invalidate(["user=u1"], scrub=True) == 1
    assert b"Berta" not in _bytes(path)
    assert names(index) == names(other) == ["2"]


def _bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_the_file_is_its_owner_s_and_may_hold_other_caches(index, path):
    store = open_cache_store(f"sqlite:///{path}")
    store.put("key", b"value", tags=["user=u1"])
    index.put("scope", entry("1", tags=("user=u1",)), ONE)
    index.clear()
    assert store.get("key") == b"value"
    store.clear()
    index.put("scope", entry("2"), ONE)
    assert names(index) == ["2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


def test_a_file_that_was_replaced_by_a_new_one_is_read_anew(index, path):
    for number in range(3):
        index.put("scope", entry(str(number)), ONE)
    assert len(names(index)) == 3
    index.close()
    path.unlink()
    assert names(index) == []
    index.put("scope", entry("new"), ONE)
    assert names(index) == ["new"]


def test_what_is_no_database_is_never_replaced(path):
    path.write_bytes(b"this is not a database" * 1_000)
    with closing(SqliteIndex(path)) as index:
        for _ in range(2):  # the second is not tried
            with pytest.raises(IndexUnavailable, match="file is not a database"):
                index.search("scope", ONE, 1)
    assert path.read_bytes().startswith(b"this is not")


@pytest.mark.parametrize("first", ["parent", "child"])
def test_a_forked_child_opens_the_file_anew(index, first):
    index.put("scope", entry("1"), ONE)
    if first == "parent":
        assert names(index) == ["1"]
    fork = multiprocessing.get_context("fork")
    said = fork.SimpleQueue()

    def child():
        index.put("scope", entry("2"), ONE)
        said.put(sorted(names(index)))

    process = fork.Process(target=child)
    process.start()
    assert said.get() == ["1", "2"]
    process.join(60)
    assert sorted(names(index)) == ["1", "2"]


def test_a_file_where_a_folder_is_wanted_is_an_error_that_says_what_to_write(path):
    path.touch()
    with pytest.raises(ConfigurationError, match=f'url="sqlite:///{path}"'):
        open_index("space", path=path, url=None, client=None, namespace="n", timeout=0.1)


def test_it_is_opened_by_its_url(path):
    url = f"sqlite:///{path}?timeout=3"
    with closing(open_index("space", path=None, url=url, client=None, namespace="n", timeout=0.1)) as index:
        assert isinstance(index, SqliteIndex)
        index.put("scope", entry("1"), ONE)
        assert index.names() == ["n-space"]
        assert str(path) in index.url
