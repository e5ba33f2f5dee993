"""What every index must do, and what the cache does over it. ``other`` is opened as another process opens it."""

from contextlib import closing

import pytest
from bag_of_words import bag_of_words

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.query import SemanticQuery

ONE, OTHER, BETWEEN = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0]


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def index(backend):
    with closing(backend.open()) as index:
        yield index


@pytest.fixture
def other(backend):
    with closing(backend.open()) as index:
        yield index


def entry(name, **fields):
    return Entry(name, f"question {name}", "{}", "text", name, 0.0, **fields)


def names(found):
    return [one.entry.id for one in found]


def asked(question, scope="scope", **key):
    return SemanticQuery(question, scope, CacheKey(digest=digest(scope, question), **key))


def put(engine, question, text, *, scope="scope", **key):
    answer = Answer(payload=[text], choices=1)
    told = engine.save(asked(question, scope, **key), bag_of_words(question), answer, text)
    engine.index.count(scope)  # where writes are in the background, other processes see them a little later
    return told


def get(engine, question, scope="scope"):
    hit = engine.lookup(asked(question, scope), bag_of_words(question))
    return None if hit is None else hit.answer.payload[0]


def guarded(index, **options):
    return SemanticEngine(index, decide="guarded", threshold=0.7, **options)


async def test_the_nearest_come_first_with_their_cosine_whatever_the_length_of_vectors(index, other):
    index.put("scope", entry("1"), [3.0, 0.0, 0.0])
    index.put("scope", entry("2"), OTHER)
    index.put("scope", entry("3"), [-0.5, 0.0, 0.0])
    for found in (other.search("scope", BETWEEN, 3), await other.asearch("scope", [6.0, 8.0, 0.0], 3)):
        assert names(found) == ["2", "1", "3"]
        assert [one.similarity for one in found] == pytest.approx([0.8, 0.6, -0.6], abs=1e-4)
    assert names(other.search("scope", BETWEEN, 1)) == ["2"]


async def test_a_scope_that_is_not_there_is_empty(index):
    assert index.search("scope", ONE, 3) == []
    assert await index.asearch("scope", ONE, 3) == []
    assert index.entries("scope") == []
    assert (index.count("scope"), index.scopes()) == (0, [])
    assert index.invalidate(["user=u1"]) == 0
    index.delete("scope", ["1"])
    index.replace("scope", entry("1"))
    assert index.count("scope") == 0
    index.clear()


def test_scopes_never_mix(index, other):
    index.put("scope", entry("1"), ONE)
    index.put("another-scope", entry("2"), ONE)
    index.put("another-scope", entry("1", pinned=True), OTHER)
    assert names(other.search("scope", ONE, 5)) == ["1"]
    assert names(other.search("another-scope", ONE, 5)) == ["2", "1"]
    assert sorted(other.scopes()) == ["another-scope", "scope"]
    other.delete("another-scope", ["1", "2"])
    assert index.scopes() == ["scope"]
    assert [one.pinned for one in index.entries("scope")] == [False]


def test_an_entry_takes_the_place_of_one_with_its_id(index, other):
    index.put("scope", entry("1"), ONE)
    index.put("scope", entry("2"), ONE)
    other.put("scope", entry("1", pinned=True, cost=3), OTHER)
    assert index.count("scope") == 2
    [found] = index.search("scope", OTHER, 1)
    assert (found.entry.id, found.entry.pinned, found.entry.cost) == ("1", True, 3)
    assert found.similarity == pytest.approx(1.0, abs=1e-4)


def test_every_field_and_every_character_is_kept(index, other):
    text = "naïve 'quoted' \"twice\" {json: 1} \\ back 日本語 🦜 \x00 nul \x1f\n"
    one = Entry(
        "1", text, text, text, text, 1.5, 2.5, 10**15, (f"user={text}", "document=a,b"), True, ("refuted", text), True
    )
    index.put("scope", one, ONE)
    assert other.entries("scope") == [one]
    assert [found.entry for found in other.search("scope", ONE, 1)] == [one]
    assert other.invalidate([f"user={text}"]) == 1


def test_an_entry_is_changed_and_its_vector_stays(index, other):
    index.put("scope", entry("1"), BETWEEN)
    other.replace("scope", entry("1", refuted=("question",), tags=("user=u1",)))
    [found] = index.search("scope", BETWEEN, 5)
    assert found.entry.refuted == ("question",)
    assert found.similarity == pytest.approx(1.0, abs=1e-4)
    assert index.invalidate(["user=u1"]) == 1


def test_entries_that_this_process_has_never_seen_are_listed_and_invalidated(index, other):
    for number in range(7):
        index.put(f"scope-{number % 3}", entry(str(number), tags=(f"user=u{number % 2}", "document=faq")), ONE)
    assert other.invalidate(["user=u1", "document=faq"]) == 3
    left = [one.id for scope in other.scopes() for one in other.entries(scope)]
    assert sorted(left) == ["0", "2", "4", "6"]
    assert other.invalidate(["user=u1"]) == 0
    assert other.invalidate(["user=u0", "document=other"]) == 0
    assert names(index.search("scope-1", ONE, 5)) == ["4"]


def test_erasing_reaches_every_scope(index, other):
    index.put("scope", entry("1", tags=("user=u1",)), ONE)
    index.put("scope", entry("2", tags=("user=u2",)), OTHER)
    index.put("another-scope", entry("3", tags=("user=u1",)), ONE)
    assert other.invalidate(["user=u1"], scrub=True) == 2
    assert index.scopes() == ["scope"]
    [found] = index.search("scope", OTHER, 5)
    assert (found.entry.id, found.similarity) == ("2", pytest.approx(1.0, abs=1e-4))


def test_more_entries_than_one_page(index, other):
    many = 1203
    for start in range(0, many, 401):
        rows = [entry(str(number), tags=("all=all",)) for number in range(start, start + 401)]
        vectors = [[1.0, number / many, 0.5] for number in range(start, start + 401)]
        if hasattr(index, "put_many"):
            index.put_many("scope", rows, vectors)
        else:
            for row, vector in zip(rows, vectors, strict=True):
                index.put("scope", row, vector)
    assert other.count("scope") == many
    assert sorted(int(one.id) for one in other.entries("scope")) == list(range(many))
    other.delete("scope", [str(number) for number in range(600)])
    assert index.count("scope") == many - 600
    assert index.invalidate(["all=all"]) == many - 600
    assert index.scopes() == []


def test_clearing_leaves_other_caches_and_what_was_learned(backend, index):
    if backend.another is None:
        pytest.skip("one cache only")
    with closing(backend.another()) as another:
        index.put("scope", entry("1"), ONE)
        another.put("scope", entry("2"), ONE)
        index.save_state("learned")
        another.save_state("learned elsewhere")
        assert len(set(index.names())) >= 2
        index.clear()
        assert index.scopes() == []
        assert names(another.search("scope", ONE, 5)) == ["2"]
        assert (index.load_state(), another.load_state()) == ("learned", "learned elsewhere")
        index.put("scope", entry("3"), ONE)
        assert names(index.search("scope", ONE, 5)) == ["3"]


def test_a_cache_is_named_once_whether_it_holds_entries_or_has_only_learned(backend, index):
    if backend.another is None:
        pytest.skip("one cache only")
    before = set(index.names())  # of other tests, on a server
    with closing(backend.another()) as another:
        index.save_state("learned")
        assert len(set(index.names()) - before) == 1
        another.put(digest("scope"), entry("1"), ONE)
        found = set(another.names()) - before
        another.save_state("learned elsewhere")
        assert (len(found), set(index.names()) - before) == (2, found)


def test_what_was_learned_is_every_process_s(index, other):
    assert other.load_state() is None
    index.save_state("x" * 300_000)
    assert other.load_state() == "x" * 300_000
    other.save_state("{}")
    assert index.load_state() == "{}"


# The cache over the index


def test_a_refutation_is_seen_by_other_processes_that_have_learned_nothing(index, other):
    mine, theirs = guarded(index), guarded(other)
    put(mine, "how do I reset my password", "In Settings.")
    assert get(theirs, "how to reset my password") == "In Settings."
    hit = mine.lookup(asked("how to reset my password"), bag_of_words("how to reset my password"))
    assert mine.feedback.refute(hit.id)
    assert get(theirs, "how to reset my password") is None
    assert get(theirs, "how do I reset my password") == "In Settings."
    put(theirs, "how do I reset my password", "In Settings.")
    assert get(mine, "how to reset my password") is None


def test_expiry_and_purging_by_another_process(index, other):
    clock = Clock()
    mine, theirs = guarded(index, clock=clock), guarded(other, clock=clock)
    put(mine, "where is it", "Here.", ttl=60)
    put(mine, "who sells trees", "Nobody.")
    clock.now += 59
    assert get(theirs, "where is it") == "Here."
    clock.now += 2
    assert get(theirs, "where is it") is None
    assert theirs.purge() == 1
    assert index.count("scope") == 1


def test_a_scope_is_bounded(index):
    engine = guarded(index, max_entries=5)
    for number in range(12):
        put(engine, f"matter {number} {number * 7919}", f"Answer {number}.")
    assert index.count("scope") <= 5


def test_invalidating_is_by_tags_of_the_call(index, other):
    put(guarded(index), "where is it", "Here.", tags=("user=u1", "tenant=t1"))
    assert guarded(other).invalidate({"user": "u2"}) == 0
    assert guarded(other).invalidate({"tenant": "t1"}) == 1
    assert get(guarded(index), "where is it") is None
