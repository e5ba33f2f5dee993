"""A verifier is asked where it pays, within a deadline, and its word is worth what it was worth before."""

import asyncio
import json
from threading import Event, Thread

import pytest
from bag_of_words import bag_of_words
from waiting import wait_until

from costguard_core import ConfigurationError
from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.answer import hit_mark, net_saving
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.learning import VerifierRecord
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.cache.semantic.verifier import ModelVerifier, Verification

STORED, ASKED = "how do I reset my password", "how do I reset my old mail password"


class Verifier:
    """Says what it was told to say of every pair."""

    def __init__(self, same=True, cost=None):
        self.same, self.cost, self.asked = same, cost, []

    def __call__(self, question, stored):
        self.asked.append((question, list(stored)))
        return Verification([self.same] * len(stored), self.cost)


def request(question):
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


def engine(verifier, *, cost=None, sure=True, **options):
    made = SemanticEngine(MemoryIndex(), decide="verified", verify=verifier, audit=0.0, **options)
    if sure:  # the estimate puts the pair above one half, where a yes decides
        made.evidence.model.weights[0] += 3.0
        made.evidence.verifier._audits_without_error = 10**9
    save(made, STORED, "In Settings.", cost=cost)
    return made


def save(made, question, text, *, cost=None):
    made.save(request(question), bag_of_words(question), Answer(payload=[text], choices=1, cost=cost), text)


def lookup(made, question=ASKED):
    return made.lookup(request(question), bag_of_words(question))


def test_a_yes_is_served_and_the_same_pair_is_not_asked_again():
    verifier = Verifier()
    made = engine(verifier)
    assert lookup(made).answer.payload == ["In Settings."]
    assert lookup(made).verdict.basis == "verifier"
    assert verifier.asked == [(ASKED, [STORED])]
    assert (made.stats().verified, made.stats().asked) == (2, 1)


def test_a_no_is_a_miss_and_is_remembered_after_a_restart():
    verifier = Verifier(same=False)
    made = engine(verifier)
    assert lookup(made) is lookup(made) is None
    assert len(verifier.asked) == 1
    made.flush()
    again = SemanticEngine(made.index, decide="verified", verify=verifier)
    again.evidence.model.weights[0] += 3.0
    assert lookup(again) is None
    assert len(verifier.asked) == 1


@pytest.mark.parametrize("question", ["how do I not reset my old password", "why do I reset my old password"])
def test_what_the_words_decide_is_not_asked(question):
    verifier = Verifier()
    made = engine(verifier)
    assert lookup(made, question) is None
    assert verifier.asked == []


def test_it_is_not_asked_where_a_yes_would_not_be_enough():
    verifier = Verifier()
    made = engine(verifier, sure=False)
    made.evidence.model.weights[0] -= 5.0
    assert lookup(made) is None
    assert verifier.asked == []


@pytest.mark.parametrize(("price", "times"), [(10, 2), (2_000, 1)])
def test_it_is_asked_only_where_the_expected_saving_exceeds_its_price(price, times):
    verifier = Verifier(same=False, cost=price)
    made = engine(verifier, cost=1_000)
    lookup(made)
    save(made, "how do I rename my bucket", "In Users.", cost=1_000)
    lookup(made, "how do I rename my old mail bucket")
    assert len(verifier.asked) == times  # the first is asked: its price is not known before


def test_savings_are_net_of_every_question_also_of_those_that_led_to_nothing():
    verifier = Verifier(same=False, cost=100)
    made = engine(verifier, cost=1_000)
    assert lookup(made) is None
    verifier.same = True
    hit = lookup(made, "how do I reset my new mail password")
    assert hit.saved == 1_000 - 200
    assert made.stats().saved == 1_000 - 200
    assert made.stats().verification_cost == 200
    assert hit_mark(hit)["saved_usd"] == "0.0000008"
    assert net_saving(5_000, hit.marks) == 5_000 - 200
    assert lookup(made, "how do I reset my new mail password").saved == 1_000


def test_a_verifier_that_hangs_is_a_miss_after_the_deadline_and_what_it_says_late_is_kept():
    release = Event()

    def slow(question, stored):
        release.wait(60)
        return [True] * len(stored)

    made = engine(slow, verify_deadline=0.05)
    assert lookup(made) is None
    release.set()
    wait_until(lambda: lookup(made) is not None)


def test_where_no_thread_can_be_started_it_is_a_miss_and_asked_again_when_one_can(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    made = engine(Verifier())
    with monkeypatch.context() as patched:
        patched.setattr(Thread, "start", refuse)
        assert [lookup(made) for _ in range(20)] == [None] * 20
    assert lookup(made) is not None
    assert made.stats().errors == 0


@pytest.mark.parametrize(
    "verify", [lambda q, s: 1 / 0, lambda q, s: [], lambda q, s: ["yes"] * len(s), lambda q, s: [None] * len(s)]
)
def test_a_verifier_that_fails_or_says_nothing_is_a_miss(verify):
    assert lookup(engine(verify)) is None


@pytest.mark.parametrize("ended", [asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt()])
def test_what_ends_a_verifier_ends_nothing_else(ended):
    def verify(question, stored):
        raise ended

    assert lookup(engine(verify)) is None


def test_on_an_event_loop_it_is_asked_in_a_thread():
    made = engine(Verifier())
    hit = asyncio.run(made.alookup(request(ASKED), bag_of_words(ASKED)))
    assert hit.answer.payload == ["In Settings."]


def test_a_verifier_that_answers_contradict_loses_its_word():
    made = engine(Verifier())
    made.evidence.verifier._audits_without_error = 0  # every hit is audited at first
    for number in range(30):
        question = f"how do I reset my {chr(97 + number % 26)}{chr(98 + number // 26)}x password"
        if lookup(made, question) is None:
            save(made, question, f"It is kept in drawer {number}.")
    assert made.evidence.verifier.false_yes > VerifierRecord().false_yes
    assert made.stats().hits < 5


@pytest.mark.parametrize("same", [True, False])
def test_a_hit_that_would_be_paid_for_to_check_it_is_asked_about_instead(same):
    question, verifier = "how can I reset my password", Verifier(same=same)
    made = engine(verifier, sure=False)
    made.evidence.verifier._audits_without_error = 10**9
    for _ in range(60):  # pairs like these were right, and next to no audit says so yet: nearly all are checked
        made.evidence.wording.learn(0.95, right=True)
    found = lookup(made, question)
    assert verifier.asked == [(question, [STORED])]
    assert (found is None) is not same
    assert found is None or found.verdict.basis == "wording"


def test_bayes_rule():
    record = VerifierRecord()
    assert record.probability(0.5, said=None) == 0.5
    assert record.probability(0.5, said=True) == pytest.approx(0.9 / 0.95)
    assert record.probability(0.5, said=False) == pytest.approx(0.1 / 1.05)
    record.learn(said=True, right=False, audited_share=0.1)
    assert record.probability(0.5, said=True) < 0.75
    again = VerifierRecord()
    again.load(json.loads(json.dumps(record.dump())))
    assert again.probability(0.5, said=True) == record.probability(0.5, said=True)


@pytest.mark.parametrize(
    ("reply", "same"),
    [
        ("[1]", [True, False]),
        ("[]", [False, False]),
        ("```json\n[1, 2]\n```", [True, True]),
        ("[3]", [None, None]),
        ("[1] or [2]", [None, None]),
        ("Not [1].", [None, None]),
        ("[1 2]", [None, None]),
        ("[,]", [None, None]),
        ("[true]", [None, None]),
        ("[[1]]", [None, None]),
        ('{"1": true}', [None, None]),
        ("[" * 5_000, [None, None]),
        ("yes", [None, None]),
        ("", [None, None]),
    ],
)
def test_a_reply_that_is_no_list_of_numbers_says_nothing(reply, same):
    assert ModelVerifier(lambda instructions, text: reply)("q", ["a", "b"]).same == same


def test_verified_and_its_verifier_belong_together():
    with pytest.raises(ConfigurationError, match="belong together"):
        SemanticEngine(MemoryIndex(), decide="verified")
    with pytest.raises(ConfigurationError, match="belong together"):
        SemanticEngine(MemoryIndex(), verify=Verifier())
