"""A log of questions, replayed: what would have been served, what was wrong, and what to start from."""

import json

from bag_of_words import bag_of_words

from costguard_core.cache.semantic.comparator.comparator import Comparison
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.log_replay import Asked, replay, suggest

TOPICS = [f"{a} {b}" for a in ("boiler", "garden", "kitchen", "window") for b in ("lamp", "door", "lock", "pipe")]
WORDINGS = ("How do I clean the {}?", "how can I clean the {}", "how to clean the {}", "what do I do to clean the {}")


def exactly(a, b):
    return Comparison(a == b, float(a == b), "exactly")


def log(**asked):
    return [
        Asked(wording.format(topic), f"Clean the {topic} with water.", "gpt", cost=1_000, **asked)
        for wording in WORDINGS
        for topic in TOPICS
    ]


def test_hits_are_counted_and_judged_by_the_answers_of_the_log():
    found = replay(log(), bag_of_words, compare=exactly)
    assert (found.asked, found.declined, found.wrong, found.unknown) == (64, 0, 0, 0)
    assert found.first > 16  # nobody asked before
    assert found.hits * 1_000 == found.saved > 0
    assert found.error.share == 0


def test_wrong_hits_are_shown():
    same = log()
    same += [Asked("How can I clean the kitchen door?", "Never clean it.", "gpt", cost=1_000)]
    found = replay(same, bag_of_words, compare=exactly)
    assert found.wrong == 1
    assert found.examples[0].question == "How can I clean the kitchen door?"
    assert "kitchen door" in found.examples[0].stored


def test_callers_and_endpoints_do_not_share_and_personal_questions_are_declined():
    one, two = log(endpoint="/a"), log(endpoint="/b")
    apart = replay([*one[:16], *two[16:32]], bag_of_words, compare=exactly)
    assert apart.hits == 0
    assert replay([Asked("Where is my order?", "Here.", "gpt")], bag_of_words).declined == 1


def test_a_cache_starts_from_the_state_without_the_entries_of_the_log():
    found = replay(log(), bag_of_words, compare=exactly)
    index = MemoryIndex()
    index.save_state(found.state)
    engine = SemanticEngine(index)
    assert engine.evidence.close_from < 1
    assert json.loads(found.state)["counts"] == {}


def test_questions_that_came_back_are_proposed_the_dearest_first():
    rows = [*log()[:48], Asked("What is a pipe?", "A tube.", "gpt", cost=1), Asked("Where is my order?", "?", "gpt")]
    rows += [Asked("How do I clean the garden door?", "Clean the garden door with water.", "gpt", cost=9_000)]
    found = suggest(rows, bag_of_words, compare=exactly)
    assert found[0].question == "How do I clean the garden door?"
    assert (found[0].times, found[0].cost) == (4, 12_000)
    assert set(found[0].paraphrases) == {"how can I clean the garden door", "how to clean the garden door"}
    assert all(one.times >= 3 for one in found)
    assert "my order" not in str(found)


def test_a_question_that_several_tiers_answered_is_proposed_once():
    asked = [*log()[:16] * 3, *log()[16:32]]
    rows = [one._replace(model=f"tier {place // 16 % 2}") for place, one in enumerate(asked)]
    rows += [Asked(rows[0].question, "Clean it with soap.", "tier 0", cost=1_000)]  # worded otherwise by the last
    found = suggest(rows, bag_of_words, compare=exactly, least=2)
    listed = [wording for one in found for wording in (one.question, *one.paraphrases)]
    assert len(listed) == len(set(listed))
    assert {one.times for one in found} == {4, 5}
    apart = suggest([one._replace(endpoint=one.model) for one in rows], bag_of_words, compare=exactly, least=2)
    assert len(apart) > len(found)  # call sites have instructions of their own
