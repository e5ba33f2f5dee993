"""The engine over every index: learning, feedback, expiry, bounds, and failures that cost nothing."""

import itertools
import os
import random
from contextlib import closing

import pytest
from bag_of_words import bag_of_words
from chroma_server import chroma_running
from python_process import run_python
from waiting import takes_less_than, wait_until

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.query import SemanticQuery


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["memory", "chroma"])
def index(request, tmp_path):
    made = MemoryIndex() if request.param == "memory" else ChromaIndex(tmp_path / "chroma")
    with closing(made):
        yield made


def asked(question, scope="scope", **key):
    return SemanticQuery(question, scope, CacheKey(digest=digest(scope, question), **key))


def put(engine, question, text, *, scope="scope", cost=None, **key):
    one = asked(question, scope, **key)
    answer = Answer(payload=[text], choices=1, cost=cost)
    return engine.save(one, bag_of_words(question), answer, text)


def get(engine, question, scope="scope"):
    hit = engine.lookup(asked(question, scope), bag_of_words(question))
    return None if hit is None else hit.answer.payload[0]


def guarded(index, **options):
    return SemanticEngine(index, decide="guarded", threshold=0.7, **options)


def test_other_words_same_answer_and_another_scope_none(index):
    engine = guarded(index)
    put(engine, "how do I reset my password", "In Settings.")
    assert get(engine, "how can I reset my password please") == "In Settings."
    assert get(engine, "how can I reset my password please", scope="other") is None
    assert get(engine, "how can I reset your password please") is None
    assert (engine.stats().hits, engine.stats().misses) == (1, 2)


def test_asking_for_a_fresh_answer_misses(index):
    engine = guarded(index)
    put(engine, "where is it", "Here.")
    assert engine.lookup(asked("where is it", lookup=False), bag_of_words("where is it")) is None


def test_entries_expire_and_are_purged(index, clock):
    engine = guarded(index, clock=clock)
    put(engine, "where is it", "Here.", ttl=60)
    clock.now += 59
    assert get(engine, "where is it") == "Here."
    clock.now += 2
    assert get(engine, "where is it") is None
    assert engine.purge() == 1
    assert index.count("scope") == 0


def test_a_refuted_pair_never_hits_again_also_after_a_restart(index):
    engine = guarded(index)
    put(engine, "how do I reset my password", "In Settings.")
    hit = engine.lookup(asked("how to reset my password"), bag_of_words("how to reset my password"))
    assert engine.feedback.refute(hit.id)
    assert get(engine, "how to reset my password") is None
    assert get(engine, "how to reset  my password?") is None
    assert get(guarded(index), "how to reset my password") is None
    assert get(engine, "how do I reset my password") == "In Settings."
    assert not engine.feedback.refute("unknown")


def test_refuted_everywhere_is_gone(index):
    engine = guarded(index)
    put(engine, "where is it", "Here.")
    hit = engine.lookup(asked("where is it"), bag_of_words("where is it"))
    assert engine.feedback.refute(hit.id, everywhere=True)
    assert index.count("scope") == 0


def test_pinned_entries_neither_expire_nor_go(index, clock):
    engine = guarded(index, clock=clock, max_entries=3)
    put(engine, "where is it", "Here.", ttl=10)
    engine.feedback.pin(engine.lookup(asked("where is it"), bag_of_words("where is it")).id)
    for name in ("anna", "peter", "maria", "paul", "laura"):
        put(engine, f"who might {name} be", f"A friend, {name}.", cost=10**9)
    clock.now += 100
    assert get(engine, "where is it") == "Here."
    assert index.count("scope") <= 3


def test_the_entries_that_save_least_per_byte_go_first(index):
    engine = guarded(index, max_entries=2)
    put(engine, "first thing about cats", "Cheap. " * 20, cost=1)
    put(engine, "second matter with boats", "Dear.", cost=10_000_000)
    put(engine, "third story of trees", "Dear too.", cost=9_000_000)
    assert engine.stats().evicted == 1
    assert get(engine, "first thing about cats") is None
    assert get(engine, "second matter with boats") == "Dear."


def test_scopes_used_longest_ago_go_first(index):
    engine = guarded(index, max_scopes=2)
    for scope in "abc":
        put(engine, "where is it", f"In {scope}.", scope=scope)
    assert get(engine, "where is it", scope="a") is None
    assert get(engine, "where is it", scope="c") == "In c."


def test_tags_invalidate(index):
    engine = guarded(index)
    put(engine, "where is it", "Here.", tags=("document=faq-7", "tenant=t"))
    put(engine, "who was it", "Me.", tags=("document=faq-8", "tenant=t"))
    assert engine.invalidate({"document": "faq-7"}) == 1
    assert get(engine, "where is it") is None
    assert get(engine, "who was it") == "Me."
    with pytest.raises(ValueError, match="name at least one tag"):
        engine.invalidate({})


TOPICS = {
    "reset password": ("Use Settings, Security, ext 204.", "how do I {} my account {}", "password reset"),
    "refund parcel": ("Refunds take 9 days at desk 311.", "when comes the {} for my {}", "parcel refund"),
    "open shop": ("The shop opens at 8 near gate 55.", "when does the {} {} in town", "shop open"),
    "rent bike": ("A bike is 14 dollars at stand 702.", "what does it cost to {} one {} here", "bike rent"),
}
FRAMES = ("please {}", "{} thanks", "hello {}", "tell me {}", "I wonder {}", "{} kindly", "so {} then", "well {} maybe")


def traffic(seed, *, wrong=0.0):
    """Questions on few topics in many wordings; ``wrong``: share that look like a topic and are answered otherwise."""
    rng = random.Random(seed)
    while True:
        topic = rng.choice(list(TOPICS))
        answer, frame, _ = TOPICS[topic]
        question = rng.choice(FRAMES).format(frame.format(*topic.split()))
        filler = " ".join(
            rng.sample("today really actually kindly perhaps surely honestly somehow again online".split(), 3)
        )
        if rng.random() < wrong:
            answer = f"Quite another thing, number {rng.randint(1000, 9999)}."
        yield f"{question} {filler}", answer


def replay(engine, many, **options):
    """Hits, wrong hits."""
    hits = wrong = 0
    asked_before = set()
    for question, answer in itertools.islice(traffic(1, **options), many):
        if question in asked_before:
            continue
        asked_before.add(question)
        served = get(engine, question)
        if served is None:
            put(engine, question, answer)
        else:
            hits += 1
            wrong += served != answer
    return hits, wrong


def test_calibrated_starts_closed_opens_with_evidence_and_keeps_its_promise():
    engine = SemanticEngine(MemoryIndex(), max_error=0.05)
    early, _ = replay(engine, 20)
    hits, wrong = replay(engine, 600)
    stats = engine.stats()
    assert early == 0
    assert hits > 150
    assert wrong <= 0.05 * hits
    assert stats.is_open
    assert stats.audits > 0
    assert stats.measured_error.low <= wrong / hits <= stats.measured_error.high


def test_calibrated_serves_nothing_when_what_looks_alike_has_other_answers():
    engine = SemanticEngine(MemoryIndex(), max_error=0.02)
    hits, wrong = replay(engine, 400, wrong=0.4)
    assert wrong <= max(1, 0.02 * hits)


def test_a_comparator_that_errs_closes_the_cache_and_does_not_make_it_wrong():
    rng = random.Random(9)

    def coin(a, b):
        from costguard_core.cache.semantic.comparator.comparator import Comparison

        return Comparison((a == b) != (rng.random() < 0.3), 0.5, "coin")

    engine = SemanticEngine(MemoryIndex(), max_error=0.02, compare=coin)
    hits, wrong = replay(engine, 400)
    assert wrong <= 0.02 * max(hits, 1)
    assert engine.stats().comparator_error > 0.1


class Broken:
    url = "broken://"

    def __getattr__(self, name):
        def fail(*args, **kwargs):
            raise ConnectionError("secret-host")

        return fail


def test_a_broken_index_is_a_miss_and_a_warning_without_details(caplog):
    engine = guarded(Broken())
    assert get(engine, "where is it") is None
    assert put(engine, "where is it", "Here.") == "the index failed"
    assert engine.stats().errors >= 2
    assert "ConnectionError" in caplog.text
    assert "secret-host" not in caplog.text


def test_a_damaged_evidence_file_is_no_evidence(tmp_path):
    with closing(ChromaIndex(tmp_path)) as index:
        guarded(index).flush()
        next(tmp_path.glob("*.evidence.json")).write_text("{")
        assert guarded(index).stats().labels == 0


def test_chroma_keeps_entries_and_evidence_over_a_restart(tmp_path):
    with closing(ChromaIndex(tmp_path)) as index:
        engine = SemanticEngine(index)
        replay(engine, 100)
        labels = engine.stats().labels
        engine.flush()
    with closing(ChromaIndex(tmp_path)) as index:
        engine = SemanticEngine(index)
        question = next(traffic(1))[0]
        assert engine.stats().labels == labels
        assert get(engine, question) is not None


def test_erasing_leaves_nothing_on_disk(tmp_path):
    with closing(ChromaIndex(tmp_path)) as index:
        engine = guarded(index)
        for number in range(5):
            put(engine, f"public matter {number} of trees", "Shared.")
        put(engine, "zebrafinch question", "Okapi answer.", tags=("user=u1",))
        assert get(engine, "zebrafinch question") == "Okapi answer."
        vectors = {file.parent.name for file in tmp_path.rglob("data_level0.bin")}
        assert engine.invalidate({"user": "u1"}, scrub=True) == 1
        left = [file for file in tmp_path.rglob("*") if file.is_file()]
        assert left
        assert vectors.isdisjoint(file.parent.name for file in left)  # written anew, elsewhere
        # Chroma writes memory that it never filled into these two: whatever the process held there before, perhaps a
        # piece of a question or of a vector (docs/semantic.md says so).
        left = [file for file in left if file.name not in ("length.bin", "data_level0.bin")]
        assert not [file for file in left if b"zebrafinch" in file.read_bytes() or b"Okapi" in file.read_bytes()]
        assert get(engine, "public matter 3 of trees") == "Shared."


OTHER_PROCESS = """
import sys
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.base import IndexUnavailable
index = ChromaIndex(sys.argv[1])
try:
    index.scopes()
    print("open")
except IndexUnavailable:
    print("refused")
"""


@pytest.mark.slow
def test_a_second_process_on_one_folder_is_detected(tmp_path):
    with closing(ChromaIndex(tmp_path)) as index:
        index.scopes()
        told = run_python(OTHER_PROCESS, str(tmp_path))
        assert told.stdout.strip() == "refused"
        assert "chroma run" in told.stderr
    told = run_python(OTHER_PROCESS, str(tmp_path))
    assert told.stdout.strip() == "open"


@pytest.fixture
def chroma_server(tmp_path):
    with chroma_running(tmp_path / "server") as server:
        yield server


def get_with_a_new_index(url, question):
    """As a process does that has not heard of any failure yet."""
    with closing(ChromaIndex(url=url)) as index:
        assert get(guarded(index), question) is None


@pytest.mark.slow
async def test_a_server_is_shared_and_one_that_hangs_or_dies_is_a_quick_miss(chroma_server):
    import signal

    url, process = chroma_server
    with closing(ChromaIndex(url=url, timeout=30)) as mine, closing(ChromaIndex(url=url, timeout=30)) as theirs:
        put(guarded(mine), "where is it", "Here.")
        assert get(guarded(theirs), "where is it") == "Here."
        other = guarded(theirs)
        assert (await other.alookup(asked("where is it"), bag_of_words("where is it"))).answer.payload == ["Here."]
    with closing(ChromaIndex(url=url)) as index:
        engine = guarded(index)
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # a signal is sent at once, and obeyed a little later
        assert get(engine, "where is it") is None
        assert await engine.alookup(asked("where is it"), bag_of_words("where is it")) is None
        takes_less_than(4.0, lambda: get_with_a_new_index(url, "where is it"))
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: get(engine, "where is it") == "Here.")
        process.kill()
        process.wait()
        assert get(engine, "where is it") is None


def test_an_entry_of_another_release_is_ignored(tmp_path):
    with closing(ChromaIndex(tmp_path)) as index:
        index.put("scope", Entry("1", "q", "{}", "t", "g", 0.0), bag_of_words("q"))
        index._collection("scope").update(ids=["1"], metadatas=[{"entry": "{}"}])
        assert index.search("scope", bag_of_words("q"), 3) == []
