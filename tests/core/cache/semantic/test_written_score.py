"""Written answers by all their wordings: the score, and what may be served."""

import json
import math

import pytest

from costguard_core.cache.semantic.decision import Neighbour, by_wordings, calibrated
from costguard_core.cache.semantic.evidence import Evidence
from costguard_core.cache.semantic.written_score import STEPS, Wordings, WrittenRecord, features, score

CLOSE, TOP = 0.93, STEPS[-1]


def record(*, repeats: int = 200, wrong: int = 0, strangers: int = 200, served: int = 0) -> WrittenRecord:
    """After so many wordings asked; all repeats were found at :data:`CLOSE`."""
    made = WrittenRecord(0.02)
    for place in range(repeats):
        made.learn_seed(CLOSE, right=place >= wrong, stranger=False)
    for place in range(strangers):
        made.learn_seed(CLOSE if place < served else None, right=False, stranger=True)
    return made


def test_nothing_is_served_before_enough_wordings_were_asked() -> None:
    assert record(repeats=10, strangers=10).cut == math.inf
    assert record().cut <= CLOSE


@pytest.mark.parametrize("bad", [{"wrong": 20}, {"served": 40}])
def test_wrong_answers_among_the_wordings_keep_it_shut(bad: dict[str, int]) -> None:
    assert record(**bad).cut == math.inf


def test_traffic_closes_it_and_opens_it_again() -> None:
    made = record()
    for _ in range(10):
        made.learn(CLOSE, right=False)
    assert made.cut == math.inf
    for _ in range(2000):
        made.learn(CLOSE, right=True)
    assert made.cut <= CLOSE


def test_audits_stand_for_the_hits_that_were_not_checked_and_grow_rare() -> None:
    plain, audited = record(), record()
    plain.learn(CLOSE, right=False)
    first = audited.audit_share
    for _ in range(50):
        audited.learn(CLOSE, right=True, audited_share=first)
    assert audited.audit_share < first
    audited.learn(CLOSE, right=False, audited_share=0.02)
    assert audited.audit_share == first  # an error: look hard again
    assert audited.cut == math.inf  # one of fifty hits was checked, and was wrong


def test_what_was_learned_is_kept() -> None:
    made = Evidence(max_error=0.02, audit=0.02)
    for _ in range(100):
        made.written.learn_seed(CLOSE, right=True, stranger=False)
        made.written.learn_seed(None, right=False, stranger=True)
    again = Evidence(max_error=0.02, audit=0.02)
    again.load(made.dump())
    assert again.written_from == made.written_from <= CLOSE
    older = json.loads(made.dump())
    del older["written"]
    fresh = Evidence(max_error=0.02, audit=0.02)
    fresh.load(json.dumps(older))
    assert fresh.written_from == math.inf


def test_more_in_common_is_more_probable() -> None:
    near = score(
        "How do I get a new password?", Wordings("How do I reset my password?", 0.8, [("a new password", 0.8)]), 0.4
    )
    far = score(
        "How do I get a new router?", Wordings("How do I reset my password?", 0.8, [("a new password", 0.8)]), 0.4
    )
    led = score(
        "How do I get a new password?", Wordings("How do I reset my password?", 0.8, [("a new password", 0.8)]), 0.79
    )
    assert near > far
    assert near > led
    assert all(map(math.isfinite, features("", Wordings("", 0.0, []), 0.0)))


def written(name: str, question: str, similarity: float, *, group: str = "a", **more: object) -> Neighbour:
    return Neighbour(name, question, similarity, group, written=True, **more)  # type: ignore[arg-type]


def test_vetoes_stand_whatever_the_wordings_say() -> None:
    evidence = Evidence(max_error=0.02, audit=0.02)
    for _ in range(500):
        evidence.written.learn_seed(TOP, right=True, stranger=False)
        evidence.written.learn_seed(None, right=False, stranger=True)
    wordings = [
        written("1", "How do I return a parcel within 14 days?", 0.97),
        written("2", "return parcel within 14 days", 0.95),
        written("3", "sending a parcel back within 14 days", 0.9),
    ]
    assert by_wordings("How can I return a parcel within 30 days?", wordings) is None
    assert not calibrated("How can I return a parcel within 30 days?", wordings, evidence).hit
    likely = by_wordings("How can I return some parcel within 14 days?", wordings)
    assert likely is not None
    assert likely.neighbour.group == "a"
    blocked = [written("1", "How do I return a parcel?", 0.97, blocked=True)]
    assert by_wordings("How can I return the parcels?", blocked) is None
    assert (
        by_wordings("Comment puis-je retourner un colis ?", [written("1", "How do I return a parcel?", 0.97)]) is None
    )


def test_an_answer_that_was_contradicted_is_served_on_evidence_only() -> None:
    evidence = Evidence(max_error=0.02, audit=0.02)
    for _ in range(500):
        evidence.written.learn_seed(0.61, right=True, stranger=False)
        evidence.written.learn_seed(None, right=False, stranger=True)
    near = [written("1", "How do I reset my password?", 0.86), written("2", "a new password, please", 0.84)]
    asked = "How do I reset a forgotten password?"
    served = calibrated(asked, near, evidence)
    assert served.hit
    assert served.basis == "wordings"
    doubted = [written("1", "How do I reset my password?", 0.86, doubts=1), near[1]]
    assert not calibrated(asked, doubted, evidence).hit
