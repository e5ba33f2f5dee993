"""Written answers: served at once, and labels before there is any traffic."""

import pytest
from bag_of_words import bag_of_words

from costguard_core import ConfigurationError
from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.cache.semantic.seeding import Wording, wordings_of
from costguard_core.cache.semantic.written import written_answer

PASSWORD = ["How do I reset my password?", "how can I reset my password", "what do I do to reset my password"]
REFUND = ["When is the deposit refunded?", "when do you refund the deposit", "when will the deposit be refunded"]


def asked(question):
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


def seeded(*faqs, index=None, **options):
    engine = SemanticEngine(index or MemoryIndex(), **options)
    stored = []
    for wordings in faqs:
        group = digest("written", wordings[0])
        for question in wordings:
            query, vector = asked(question), bag_of_words(question)
            assert engine.seed(query, vector, written_answer(wordings[0]), wordings[0], group=group) is None
            stored.append(Wording(query, vector, group))
    engine.learn_from_seeds(stored)
    return engine


def served(engine, question):
    hit = engine.lookup(asked(question), bag_of_words(question))
    return None if hit is None else hit.answer.payload["text"]


def test_a_written_answer_is_served_before_any_promise_can_be_made():
    engine = seeded(PASSWORD, REFUND)
    assert not engine.evidence.controller.is_open
    assert served(engine, "How could I reset my password") == PASSWORD[0]


@pytest.mark.parametrize(
    "question",
    [
        "Why is the deposit refunded?",
        "When is the deposit not refunded?",
        "How do I reset your password?",
        "How do I reset my username?",
        "Must I reset my password?",
    ],
)
def test_a_written_answer_is_not_served_to_another_question(question):
    assert served(seeded(PASSWORD, REFUND), question) is None


def test_a_models_answer_is_not_taken_for_a_written_one():
    engine = SemanticEngine(MemoryIndex())
    engine.save(asked(PASSWORD[0]), bag_of_words(PASSWORD[0]), Answer(payload={"text": "-"}, choices=1), "In Settings.")
    assert served(engine, PASSWORD[1]) is None


def test_a_written_answer_that_is_refuted_more_often_than_confirmed_is_not_served_at_once():
    engine = seeded(PASSWORD)
    hit = engine.lookup(asked("How could I reset my password"), bag_of_words("How could I reset my password"))
    assert engine.feedback.refute(hit.id)
    assert served(engine, "How could I reset my password please") is None


def test_seeding_again_brings_no_refuted_answer_back():
    index, other = MemoryIndex(), "how to reset my password"
    first, second = (seeded(["how do I reset my password"], index=index, decide="guarded", threshold=0.6) for _ in "12")
    hit = first.lookup(asked(other), bag_of_words(other))
    assert hit is not None
    assert first.feedback.refute(hit.id)
    second.flush()  # another process: what it learned replaces what the first one did
    third = seeded(["how do I reset my password"], index=index, decide="guarded", threshold=0.6)
    assert [served(engine, other) for engine in (first, second, third)] == [None] * 3


def test_questions_about_something_else_cast_no_doubt_on_a_written_answer():
    engine = seeded(PASSWORD)
    for number, thing in enumerate(("clock", "router", "bike", "oven", "watch")):
        other, text = f"what do I do to reset my {thing}", f"Turn {number} wheels."
        engine.save(asked(other), bag_of_words(other), Answer(payload={"text": "-"}, choices=1), text)
    assert any(engine.evidence.counts(entry.id).wrong for entry in engine.index.entries("scope") if entry.written)
    assert served(engine, "what could I do to reset my password") == PASSWORD[0]


def many(number):
    topics = [f"{a}{b}" for a in ("boiler", "garden", "kitchen", "window") for b in ("lamp", "door", "lock", "pipe")]
    return [[f"How do I clean the {x}?", f"how can I clean the {x}", f"how to clean the {x}"] for x in topics[:number]]


def test_wordings_of_one_answer_are_labels_and_so_are_other_answers():
    before, after = SemanticEngine(MemoryIndex()).evidence, seeded(*many(16)).evidence
    assert after.close_from < before.close_from  # eight right labels and none wrong
    assert after.model.weights != before.model.weights


def test_look_alikes_with_other_answers_open_nothing():
    pairs = [["how do I reset it in room one please"], ["how can I reset it in room one"]] * 8
    pairs = [[f"{text} {word}"] for (text,), word in zip(pairs, "a b c d e f g h i j k l m n o p".split(), strict=True)]
    same_words = [[text] for text in ("tell me about the lamp", "please tell me about the lamp", "about the lamp")]
    assert seeded(*pairs, *same_words).evidence.close_from == float("inf")


def test_what_was_learned_from_seeds_survives_a_restart():
    index = MemoryIndex()
    first = seeded(*many(16), index=index)
    again = SemanticEngine(index)
    assert again.evidence.close_from == first.evidence.close_from
    assert again.evidence.controller.labels == first.evidence.controller.labels


def test_entries_of_older_releases_were_not_written_by_a_person():
    old = Entry("id", "q", "{}", "a", "g", 1.0).dump().replace(',"written":false', "")
    assert "written" not in old
    assert Entry.load(old).written is False


def test_paraphrases_belong_to_a_question_that_has_an_answer():
    assert wordings_of({"a": "1", "b": "2"}, {"a": ["c", "a"]}) == {"a": ["a", "c"], "b": ["b"]}
    with pytest.raises(ConfigurationError, match="no answer"):
        wordings_of({"a": "1"}, {"b": ["c"]})
    with pytest.raises(ConfigurationError, match="lists of other wordings"):
        wordings_of({"a": "1"}, {"a": "c"})
