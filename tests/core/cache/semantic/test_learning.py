"""The promise, its measurement, and what it is learned from."""

import json
import math
import random
from dataclasses import replace

import pytest

from costguard_core.cache.semantic.decision import Neighbour, calibrated, guarded
from costguard_core.cache.semantic.embeddings import WordLlamaEmbedding, margin_of
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.evidence import Evidence
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.learning import (
    ComparatorNoise,
    ErrorController,
    OnlineLogistic,
    WordEvidence,
    WordingRecord,
    wilson,
)
from costguard_core.errors import ConfigurationError


def test_wilson_knows_nothing_from_nothing_and_narrows():
    assert wilson(0, 0) == (0.0, 0.0, 1.0)
    share, low, high = wilson(1, 50)  # Wilson 1927: 0.0035 to 0.105
    assert share == 0.02
    assert low == pytest.approx(0.00354, abs=1e-4)
    assert high == pytest.approx(0.10495, abs=1e-4)
    assert wilson(10, 500).high < high


def test_logistic_learns_what_decides():
    rng, model = random.Random(1), OnlineLogistic([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
    for _ in range(2000):
        x = (1.0, rng.gauss(0, 1), rng.gauss(0, 1))
        model.learn(x, right=rng.random() < 1 / (1 + math.exp(-(0.5 + 2 * x[1]))))
    assert model.weights == pytest.approx([0.5, 2.0, 0.0], abs=0.35)
    assert model.probability((1.0, 2.0, 0.0)) > 0.95


def test_what_was_never_seen_is_never_sure():
    model = OnlineLogistic([5.0], [100.0])
    assert model.probability((1.0,)) < 0.8


def test_the_error_controller_opens_with_enough_right_labels_and_not_before():
    controller = ErrorController(0.02)
    labels = 0
    while not controller.is_open:
        controller.learn(0.995, right=True)
        labels += 1
    assert 60 <= labels <= 120
    assert controller.measured().high <= 0.02


def test_the_error_controller_never_opens_when_the_error_is_larger_than_promised():
    rng, opened = random.Random(3), 0
    for _ in range(20):
        controller = ErrorController(0.02)
        for _ in range(600):
            controller.learn(0.999, right=rng.random() >= 0.06)
        opened += controller.is_open
    assert opened == 0


def test_wrong_audits_close_the_error_controller_and_right_labels_open_it_again():
    controller = ErrorController(0.02)
    for _ in range(150):
        controller.learn(0.999, right=True)
    assert controller.is_open
    for _ in range(3):
        controller.learn(0.999, right=False, audited=True)
    assert not controller.is_open
    for _ in range(300):
        controller.learn(0.999, right=True)
    assert controller.is_open


def test_audits_are_many_at_first_and_few_later():
    controller = ErrorController(0.02, audit=0.02)
    first = controller.audit_share
    for _ in range(2000):
        controller.learn(0.999, right=True, audited=True)
    assert first == 1.0
    assert controller.audit_share == 0.02


def test_a_promise_that_holds_narrowly_is_checked_more_often():
    narrow, wide = ErrorController(0.02), ErrorController(0.02)
    for controller, wrong in ((narrow, 2), (wide, 0)):
        for _ in range(wrong):
            controller.learn(0.999, right=False)
        for _ in range(260):
            controller.learn(0.999, right=True, audited=True)
    assert narrow.is_open
    assert wide.is_open
    assert narrow.audit_share > 1.5 * wide.audit_share


def test_unsure_labels_do_not_count_for_the_promise():
    controller = ErrorController(0.02)
    controller.learn(0.9, right=True)
    assert controller.labels == 0


def test_noise_is_estimated_from_contradictions():
    rng, noise = random.Random(5), ComparatorNoise()
    for _ in range(3000):
        noise.observe(sum(rng.random() >= 0.05 for _ in range(5)), 5)
    assert noise.rate == pytest.approx(0.05, abs=0.015)
    assert noise.of_majority(1) == pytest.approx(noise.rate)
    assert noise.of_majority(5) < 0.005


def test_words_that_change_answers_are_learned():
    words = WordEvidence()
    for _ in range(20):
        words.learn(("please",), right=True)
        words.learn(("tomorrow",), right=False)
    assert words.risk(("please",)) < 0 < words.risk(("please", "tomorrow"))
    assert words.risk(()) == words.risk(("unseen",)) == 0.0


def near(number=5, *, group="g", similarity=0.93):
    questions = [f"how do I change my{' own' * i} password" for i in range(number)]
    return [Neighbour(str(i), text, similarity - i / 100, group, 5, 0) for i, text in enumerate(questions)]


def test_calibrated_serves_nothing_before_there_is_evidence():
    verdict = calibrated("how to change my password", near(), Evidence(max_error=0.02, audit=0.02))
    assert not verdict.hit
    assert "not enough evidence" in verdict.reason


def trusted():
    evidence = Evidence(max_error=0.02, audit=0.02)
    for _ in range(150):
        evidence.controller.learn(0.999, right=True)
    evidence.model.weights[0] += 3
    return evidence


def test_calibrated_serves_what_neighbours_agree_on_and_not_what_they_contradict():
    agree = calibrated("how to change my password", near(), trusted())
    contradicted = [*near(1), Neighbour("x", "how do I change my login", 0.925, "other")]
    against = calibrated("how to change my password", contradicted, trusted())
    assert agree.hit
    assert not against.hit
    assert against.probability < agree.probability


@pytest.mark.parametrize("rule", ["calibrated", "guarded"])
def test_vetoes_hold_under_every_rule(rule):
    question = "how do I not change my password"
    if rule == "guarded":
        verdict = guarded(question, near(), threshold=0.5)
    else:
        verdict = calibrated(question, near(), trusted())
    assert not verdict.hit
    assert "negation" in verdict.reason


def test_the_same_text_is_a_hit_at_once_unless_it_was_refuted():
    stored, evidence = Neighbour("1", "Where is it?", 1.0, "g"), Evidence(max_error=0.02, audit=0.02)
    assert calibrated("Where  is it?", [stored], evidence).hit
    blocked = Neighbour("1", "Where is it?", 1.0, "g", blocked=True)
    assert not calibrated("Where is it?", [blocked], evidence).hit


def test_other_closing_marks_are_a_hit_once_something_may_be_promised():
    stored = Neighbour("1", "Where is it?", 1.0, "g")
    assert not calibrated("Where is it", [stored], Evidence(max_error=0.02, audit=0.02)).hit
    assert calibrated("Where is it", [stored], trusted()).hit
    assert guarded("Where is it", [stored], threshold=0.99).hit


def test_evidence_survives_being_written_down():
    evidence = trusted()
    evidence.block("pair", "entry")
    evidence.count("entry", right=False)
    copy = Evidence(max_error=0.02, audit=0.02)
    copy.load(evidence.dump())
    assert copy.cutoff == evidence.cutoff
    assert copy.model.weights == evidence.model.weights
    assert copy.counts("entry") == evidence.counts("entry")
    assert json.loads(copy.dump()) == json.loads(evidence.dump())


def test_what_was_learned_from_other_similarities_is_learned_again():
    evidence = trusted()
    for _ in range(100):
        evidence.wording.learn(0.95, right=True)
        evidence.written.learn_seed(0.95, right=True, stranger=False)
        evidence.written.learn_seed(None, right=False, stranger=True)
    evidence.block("pair", "entry")
    evidence.count("entry", right=False)
    older = json.loads(evidence.dump())
    del older["similarity"]
    fresh, copy = Evidence(max_error=0.02, audit=0.02), Evidence(max_error=0.02, audit=0.02)
    copy.load(json.dumps(older))
    assert evidence.cutoff < copy.cutoff == math.inf
    assert evidence.close_from < copy.close_from == math.inf
    assert evidence.written_from < copy.written_from == math.inf
    assert copy.model.weights == fresh.model.weights
    assert copy.counts("entry") == evidence.counts("entry")
    assert json.loads(copy.dump())["blocked"] == older["blocked"]


def test_wordllama_must_keep_the_promise_by_a_wider_margin():
    def labels_needed(name):
        controller = Evidence(max_error=0.02, audit=0.02, z=margin_of(name)).controller
        while not controller.is_open:
            controller.learn(0.999, right=True)
        return controller.labels

    assert labels_needed(WordLlamaEmbedding.name) > 120 >= labels_needed("all-MiniLM-L6-v2")


def wording(right=0, *, similarity=0.95):
    record = WordingRecord(0.02, audit=0.02)
    for _ in range(right):
        record.learn(similarity, right=True)
    return record


def test_pairs_with_no_difference_are_believed_while_none_was_wrong_or_once_the_promise_holds():
    assert wording(7).similarity == math.inf
    assert wording(8).similarity == 0.9
    doubted = wording(60)
    doubted.learn(0.95, right=False, audited_share=doubted.audit_share)
    assert doubted.similarity == math.inf  # one of 61, which 1 of 80 beforehand had outvoted
    many = wording(500)
    many.learn(0.95, right=False)
    assert many.similarity == 0.9
    assert wording(500, similarity=0.75).similarity == 0.75
    for _ in range(8):
        many.learn(0.87, right=True)
    assert many.similarity == 0.85  # more similar pairs do not vouch for less similar ones


def test_a_wrong_audit_of_such_a_pair_stands_for_the_hits_that_were_not_checked():
    record = wording(300)
    first = record.audit_share
    for _ in range(100):
        record.learn(0.95, right=True, audited_share=record.audit_share)
    assert record.audit_share < 0.1 < first
    record.learn(0.95, right=False, audited_share=record.audit_share)
    record.learn(0.95, right=False, audited_share=record.audit_share)
    assert record.audit_share == pytest.approx(1.0)
    young = wording(8)
    for _ in range(10):
        young.learn(0.95, right=True, audited_share=young.audit_share)
    assert young.audit_share > 0.7  # most are checked until the promise holds


@pytest.mark.parametrize(
    "options", [{"decide": "magic"}, {"threshold": 0}, {"threshold": 1.5}, {"max_error": 0.6}, {"audit": 2}]
)
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigurationError):
        SemanticEngine(MemoryIndex(), **options)


class Opened(Evidence):
    """Evidence by which the promise holds, for what is surer than a pair of near questions is at first."""

    cutoff = 0.999


@pytest.mark.parametrize(
    ("asked", "stored", "same"),
    [
        ("hi, is there a lift in the library?", "Is there a lift in the library, please?", True),
        ("please tell me: How do I renew a ferry pass??", "How do I renew a ferry pass? - thank you", True),
        ("Is there a lift in the library?", "Why is there a lift in the library?", False),
        ("Can I renew a ferry pass?", "How do I renew a ferry pass?", False),
        ("I had to renew a ferry pass", "I have to renew a ferry pass", False),
        ("Is there a lift in the library?", "Are there two lifts in the library?", False),
    ],
)
def test_the_same_question_opened_otherwise_is_served_where_the_promise_holds(asked, stored, same):
    closed, opened = Evidence(max_error=0.02, audit=0.02), Opened(max_error=0.02, audit=0.02)
    near = Neighbour("entry", stored, 0.97, "group")
    verdict = calibrated(asked, [near], opened)
    assert (verdict.hit, verdict.basis) == ((True, "same") if same else (False, "evidence"))
    assert not calibrated(asked, [near], closed).hit
    assert not calibrated(asked, [replace(near, doubts=1)], opened).hit  # it was wrong before


def test_the_same_question_is_paid_for_again_as_seldom_as_anything():
    engine = SemanticEngine(MemoryIndex(), audit=0.03)
    near = Neighbour("entry", "Is there a lift in the library?", 0.97, "group")
    verdict = calibrated("hi, is there a lift in the library?", [near], Opened(max_error=0.02, audit=0.03))
    assert engine._audit_share(verdict) == 0.03
    assert engine._audit_share(replace(verdict, basis="evidence")) == 1.0
