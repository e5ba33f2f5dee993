"""Writing in the background: found at once, reached by everything that changes entries, and never lost silently."""

import multiprocessing
import threading
from contextlib import closing
from queue import Full

import pytest
from bag_of_words import bag_of_words
from python_process import run_python

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index import write_behind
from costguard_core.cache.semantic.index.base import Entry, IndexUnavailable
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.index.write_behind import WriteBehindIndex
from costguard_core.cache.semantic.query import SemanticQuery


class Gated(MemoryIndex):
    """An index whose writes wait until they may go on, as Chroma's do for the disk."""

    def __init__(self):
        super().__init__()
        self.writing, self.may_go_on = threading.Event(), threading.Event()
        self.written = []

    def put(self, scope, entry, vector):
        self.writing.set()
        assert self.may_go_on.wait(60)
        self.written.append(entry)
        super().put(scope, entry, vector)


class Broken(MemoryIndex):
    def put(self, scope, entry, vector):
        raise ConnectionError("secret-host")


@pytest.fixture
def gated():
    made = Gated()
    yield made
    made.may_go_on.set()


def entry(name, **fields):
    return Entry(name, f"question {name}", "{}", "text", name, 0.0, **fields)


ONE, OTHER = [1.0, 0.0], [0.0, 1.0]


def asked(question):
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


def put(engine, question, text, **fields):
    return engine.save(asked(question), bag_of_words(question), Answer(payload=[text], choices=1, **fields), text)


def get(engine, question):
    return engine.lookup(asked(question), bag_of_words(question))


async def test_what_waits_is_found_in_its_scope_only_and_in_order(gated):
    with closing(WriteBehindIndex(gated)) as index:
        index.put_later("scope", entry("1"), ONE)
        index.put_later("scope", entry("2"), OTHER)
        index.put_later("other", entry("3"), ONE)
        assert not gated.written
        found = index.search("scope", [1.0, 0.1], 5)
        assert [one.entry.id for one in found] == ["1", "2"]
        assert await index.asearch("scope", [1.0, 0.1], 5) == found
        assert [one.entry.id for one in index.search("scope", [0.1, 1.0], 1)] == ["2"]
        gated.may_go_on.set()
        assert index.count("scope") == 2
        assert gated.written
        assert [one.entry.id for one in index.search("scope", [1.0, 0.1], 5)] == ["1", "2"]


def test_what_waits_hides_what_it_replaces(gated):
    gated.may_go_on.set()
    with closing(WriteBehindIndex(gated)) as index:
        index.put("scope", entry("1", pinned=False), ONE)
        gated.may_go_on.clear()
        index.put_later("scope", entry("1", pinned=True), ONE)
        assert [one.entry.pinned for one in index.search("scope", ONE, 5)] == [True]
        gated.may_go_on.set()
        assert [one.pinned for one in index.entries("scope")] == [True]


def test_a_hit_on_what_waits_is_refuted_for_every_process(gated):
    index = WriteBehindIndex(gated)
    engine = SemanticEngine(index, decide="guarded", threshold=0.7)
    put(engine, "how do I reset my password", "In Settings.")
    hit = get(engine, "how to reset my password")
    assert hit is not None
    assert gated.writing.wait(60)
    asking = threading.Thread(target=engine.feedback.refute, args=[hit.id])
    asking.start()
    gated.may_go_on.set()
    asking.join(60)
    another_process = SemanticEngine(gated, decide="guarded", threshold=0.7)
    assert get(another_process, "how do I reset my password") is not None
    assert get(another_process, "how to reset my password") is None
    engine.close()


def test_a_refutation_stands_if_the_entry_waits_and_the_wait_is_given_up(gated, monkeypatch):
    monkeypatch.setattr(write_behind, "_BARRIER_SECONDS", 0.01)
    index = WriteBehindIndex(gated)
    index.put_later("scope", entry("0"), ONE)
    assert gated.writing.wait(60)
    index.put_later("scope", entry("1"), ONE)
    with pytest.raises(IndexUnavailable):
        index.replace("scope", entry("1", refuted=("question",)))
    gated.may_go_on.set()
    index.close()
    assert [one.refuted for one in gated.entries("scope") if one.id == "1"] == [("question",)]


@pytest.mark.parametrize("scrub", [False, True])
def test_invalidating_reaches_what_waits_and_what_is_being_written(gated, scrub):
    with closing(WriteBehindIndex(gated)) as index:
        index.put_later("scope", entry("1", tags=("user=u1",)), ONE)
        assert gated.writing.wait(60)
        index.put_later("scope", entry("2", tags=("user=u1",)), ONE)
        index.put_later("scope", entry("3", tags=("user=u2",)), ONE)
        removed = []
        asking = threading.Thread(target=lambda: removed.append(index.invalidate(["user=u1"], scrub=scrub)))
        asking.start()
        gated.may_go_on.set()
        asking.join(60)
        assert removed == [2]
        assert [one.entry.id for one in index.search("scope", ONE, 5)] == ["3"]
        assert [one.id for one in index.entries("scope")] == ["3"]


@pytest.mark.parametrize("how", ["delete", "clear"])
def test_what_is_deleted_while_it_waits_does_not_come_back(gated, how):
    with closing(WriteBehindIndex(gated)) as index:
        index.put_later("scope", entry("1"), ONE)
        assert gated.writing.wait(60)
        index.put_later("scope", entry("2"), ONE)
        work = index.clear if how == "clear" else lambda: index.delete("scope", ["1", "2"])
        asking = threading.Thread(target=work)
        asking.start()
        gated.may_go_on.set()
        asking.join(60)
        assert index.count("scope") == 0
        assert index.search("scope", ONE, 5) == []


def test_what_cannot_be_written_is_a_warning_a_count_and_a_miss(caplog):
    index = WriteBehindIndex(Broken())
    engine = SemanticEngine(index, decide="guarded", threshold=0.7)
    put(engine, "where is it", "Here.")
    index.wait()
    assert get(engine, "where is it") is None
    assert (engine.stats().errors, engine.stats().stored) == (1, 0)
    assert "update failed (ConnectionError)" in caplog.text
    assert "secret-host" not in caplog.text
    engine.close()


def test_of_several_only_those_are_lost_that_are_not_written():
    class FailsOnce(Gated):
        def put(self, scope, entry, vector):
            super().put(scope, entry, vector)
            if entry.id == "2":
                self.delete(scope, ["2"])
                raise ConnectionError

    inner, lost = FailsOnce(), []
    with closing(WriteBehindIndex(inner, on_lost=lambda count, error: lost.append(count))) as index:
        index.put_later("first", entry("0"), ONE)
        assert inner.writing.wait(60)
        for name in "123":  # written together, as they come while another is
            index.put_later("scope", entry(name), ONE)
        inner.may_go_on.set()
        assert [one.id for one in index.entries("scope")] == ["1"]
        assert lost == [2]


def test_a_full_queue_is_a_warning_and_a_miss(gated, monkeypatch, caplog):
    monkeypatch.setattr(write_behind, "_MAX_WAITING", 2)
    index = WriteBehindIndex(gated)
    engine = SemanticEngine(index, decide="guarded", threshold=0.7)
    assert put(engine, "where is the key", "Here.") is None
    assert put(engine, "who sells trees", "Nobody.") is None
    assert put(engine, "what colour has snow", "White.") == "the index failed"
    assert get(engine, "what colour has snow") is None
    assert (engine.stats().errors, engine.stats().stored) == (1, 2)
    assert "update failed (Full)" in caplog.text
    gated.may_go_on.set()
    engine.close()
    assert gated.count("scope") == 2
    with pytest.raises(Full):
        index.put_later("scope", entry("1"), ONE)
    assert index.search("scope", entry_vector(), 5)


def entry_vector():
    return bag_of_words("where is the key")


def test_too_many_entries_are_evicted_in_the_background(gated):
    gated.may_go_on.set()
    index = WriteBehindIndex(gated)
    engine = SemanticEngine(index, decide="guarded", threshold=0.7, max_entries=3)
    for number in range(8):
        put(engine, f"matter {number} {number * 7919}", f"Answer {number}.")
    engine.close()
    assert gated.count("scope") <= 3
    assert engine.stats().evicted >= 5


PROCESS = """
import sys
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.write_behind import WriteBehindIndex
index = WriteBehindIndex(ChromaIndex(sys.argv[1]))
for number in range(30):
    index.put_later("scope", Entry(str(number), "q", "{}", "t", "g", 0.0), [1.0, number])
"""


@pytest.mark.slow
def test_what_waits_when_the_process_ends_is_written(tmp_path):
    told = run_python(PROCESS, str(tmp_path))
    assert (told.returncode, told.stderr) == (0, "")
    with closing(ChromaIndex(tmp_path)) as index:
        assert index.count("scope") == 30


@pytest.mark.slow
def test_several_who_erase_at_once_leave_a_folder_whole_and_put_nothing_back(tmp_path):
    with closing(WriteBehindIndex(ChromaIndex(tmp_path))) as index:
        for number in range(40):
            index.put("scope", entry(str(number), tags=(f"user=u{number % 4}",)), [1.0, number])
        ready, removed = threading.Barrier(4), []

        def erase(user):
            ready.wait(60)
            removed.append(index.invalidate([f"user={user}"], scrub=True))

        erasing = [threading.Thread(target=erase, args=[user]) for user in ("u0", "u1", "u2")]
        for thread in erasing:
            thread.start()
        ready.wait(60)
        for number in range(40):
            index.put_later(f"other{number % 5}", entry(str(number)), [1.0, number])
        for thread in erasing:
            thread.join(60)
        assert removed == [10, 10, 10]
    with closing(ChromaIndex(tmp_path)) as index:
        assert {one.tags for one in index.entries("scope")} == {("user=u3",)}
        assert sum(index.count(f"other{number}") for number in range(5)) == 40


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["the same cache", "another cache"])
def test_who_asks_while_a_folder_is_erased_gets_an_answer_or_a_miss_and_damages_nothing(tmp_path, whose):
    with closing(ChromaIndex(tmp_path)) as index, closing(ChromaIndex(tmp_path)) as another:
        asked = index if whose == "the same cache" else another
        for number in range(40):
            index.put("scope", entry(str(number), tags=(f"user=u{number % 4}",)), [1.0, number])
        ready, erased, failures = threading.Barrier(4), threading.Event(), []

        def ask():
            ready.wait(60)
            while not erased.is_set():
                try:
                    asked.search("scope", [1.0, 3.0], 5)
                except IndexUnavailable as error:
                    failures.append(str(error))

        asking = [threading.Thread(target=ask) for _ in range(3)]
        for thread in asking:
            thread.start()
        ready.wait(60)
        try:
            assert [index.invalidate([f"user=u{number}"], scrub=True) for number in range(3)] == [10, 10, 10]
        finally:
            erased.set()
            for thread in asking:
                thread.join(60)
        assert set(failures) <= {"its files are being rewritten"}
        assert len(asked.search("scope", [1.0, 3.0], 5)) == 5
    with closing(ChromaIndex(tmp_path)) as index:
        assert {one.tags for one in index.entries("scope")} == {("user=u3",)}


@pytest.mark.slow
def test_a_forked_child_writes_nothing_of_its_parents_and_can_write(gated):
    index = WriteBehindIndex(gated)
    index.put_later("scope", entry("1"), ONE)
    assert gated.writing.wait(60)
    fork = multiprocessing.get_context("fork")
    said = fork.SimpleQueue()

    def child():
        gated.may_go_on.set()
        found = len(index.search("scope", ONE, 5))
        index.put_later("scope", entry("2"), ONE)
        index.wait()
        said.put((found, [one.id for one in gated.written]))

    process = fork.Process(target=child)
    process.start()
    assert said.get() == (0, ["2"])
    process.join(60)
    gated.may_go_on.set()
    index.close()
    assert [one.id for one in gated.entries("scope")] == ["1"]
