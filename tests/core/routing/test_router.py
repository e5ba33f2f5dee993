"""The decision: shares, defaults, gates, budgets, sessions, escalation, and what a decision tells."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from costguard_core.errors import ConfigurationError
from costguard_core.routing import (
    Message,
    Reason,
    Request,
    Router,
    Score,
    Spending,
    SpendLine,
    Tier,
    TierPrice,
    Verdict,
    branches,
    examples,
    first_opinion,
    rules,
)


def by_number(request: Request) -> Score | None:
    """Scores are the text itself, so that a test says what it means."""
    return Score(float(request.text), (Reason("number", float(request.text)),)) if request.text else None


def numbered(share: float | None = 0.3, **options) -> Router:
    return Router(["cheap", "strong"], score=by_number, share=share, **options)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("scale", [1.0, 1000.0, -7.0])
def test_the_share_is_realised_whatever_the_scale_of_the_scores(share, scale):
    random = Random(1)
    router = numbered(share)
    taken = [router.decide(Request(str(scale * random.random()))).tier for _ in range(300)]
    assert taken.count("strong") / 300 == pytest.approx(share, abs=0.03)


def test_the_share_is_realised_when_all_scores_are_equal():
    random = Random(2)
    router = Router(["cheap", "strong"], score=lambda _: Score(0.0), share=0.3)
    taken = [router.decide(Request(f"question {random.random()}")).tier for _ in range(300)]
    assert taken.count("strong") / 300 == pytest.approx(0.3, abs=0.03)


def test_the_share_is_realised_from_many_threads():
    router, random = numbered(), Random(9)
    requests = [Request(str(random.random()), session=f"s{n}") for n in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        taken = [decision.tier for decision in pool.map(router.decide, requests)]
    assert taken.count("strong") / 2000 == pytest.approx(0.3, abs=0.03)
    assert router.share_now == pytest.approx(0.3, abs=0.03)


def test_the_share_follows_traffic_that_moves():
    router, random = numbered(), Random(3)
    for _ in range(500):
        router.decide(Request(str(random.random())))
    taken = [router.decide(Request(str(100 + random.random()))).tier for _ in range(800)]
    assert taken[400:].count("strong") / 400 == pytest.approx(0.3, abs=0.05)


def test_higher_scores_go_to_the_stronger_tier():
    router, random = numbered(), Random(4)
    for _ in range(200):
        router.decide(Request(str(random.random())))
    assert router.decide(Request("2")).tier == "strong"
    assert router.decide(Request("-2")).tier == "cheap"


def test_three_tiers_get_their_shares():
    router, random = Router(["a", "b", "c"], score=by_number, share=(0.3, 0.1)), Random(5)
    taken = [router.decide(Request(str(random.random()))).tier for _ in range(1000)]
    assert [taken.count(tier) / 1000 for tier in "abc"] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_no_opinion_is_not_easy():
    decision = numbered().decide(Request(""))
    assert (decision.tier, decision.score, decision.cut) == ("strong", None, None)
    assert decision.because == "no opinion"
    assert numbered(default="cheap").decide(Request("")).tier == "cheap"


def test_a_broken_scorer_costs_nobody_the_answer():
    def broken(_):
        raise KeyError("the prompt's own words")

    decision = Router(["cheap", "strong"], score=broken).decide(Request("x"))
    assert decision.tier == "strong"
    assert decision.because == "scorer failed: KeyError"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_absurd_scores_still_route(value):
    router = Router(["cheap", "strong"], score=lambda _: Score(value), share=0.3)
    assert {router.decide(Request(str(n))).tier for n in range(20)} <= {"cheap", "strong"}


def test_explaining_remembers_nothing_and_agrees_with_deciding():
    router, random = numbered(), Random(6)
    for _ in range(50):
        router.decide(Request(str(random.random())))
    for _ in range(50):
        request = Request(str(random.random()), session="s")
        told = router.explain(request)
        assert told == router.explain(request)
        assert told.tier == router.decide(Request(request.text)).tier


def test_conditions_in_order_name_the_tier():
    def long(request):
        return len(request.text) > 10

    router = Router(["cheap", "strong"], score=branches((long, "strong"), (lambda _: True, "cheap")))
    assert router.decide(Request("a long question")).text == "strong: long"
    assert router.decide(Request("short")).text == "cheap: condition 2"


def test_a_condition_for_a_runnable_branch():
    router = Router(["cheap", "strong"], score=by_number, threshold=0.5)
    assert router.is_hard(Request("0.6"))
    assert not router.is_hard(Request("0.4"))


def test_topics_go_to_their_tier_and_anything_else_to_the_next_scorer():
    topics = examples({"faq": ["What are your opening hours?", "Where is your office?"]}, tiers={"faq": "cheap"})
    router = Router(["cheap", "strong"], score=first_opinion(topics, rules()), share=0.5)
    decision = router.decide(Request("what are the opening hours?"))
    assert decision.tier == "cheap"
    assert decision.reasons[0].name == "like faq"
    assert router.decide(Request("Prove that the square root of two is irrational")).reasons[0].name == "reasoning"


def test_a_tier_that_cannot_is_never_chosen():
    tiers = [Tier("cheap", max_input_tokens=100, modalities=frozenset(), tools=False), Tier("strong")]
    router = Router(tiers, score=branches((lambda _: True, "cheap")))
    assert router.decide(Request("x", input_tokens=101)).tier == "strong"
    assert router.decide(Request("x", modalities=frozenset({"image"}))).tier == "strong"
    assert router.decide(Request("x", tools=1)).because == "condition 1, cheap calls no tools"
    assert router.decide(Request("x", input_tokens=100)).tier == "cheap"


def test_when_no_tier_can_the_provider_says_so():
    router = Router([Tier("a", max_input_tokens=1), Tier("b", max_input_tokens=2)], score=branches())
    assert router.decide(Request("x", input_tokens=5)).tier == "b"


@pytest.mark.parametrize(
    ("tiers", "options"),
    [
        (["one"], {}),
        (["same", "same"], {}),
        (["a", "b"], {"share": (0.1, 0.2)}),
        (["a", "b"], {"share": 1.5}),
        (["a", "b", "c"], {"share": (0.9, 0.2)}),
        (["a", "b", "c"], {"threshold": 0.5}),
        (["a", "b"], {"default": "c"}),
    ],
)
def test_what_does_not_fit_together_is_refused(tiers, options):
    with pytest.raises(ConfigurationError):
        Router(tiers, score=by_number, **options)


LINE = SpendLine(limit=1_000_000, start=0.0, end=100.0)


def spending(spent: int, now: float = 50.0) -> Spending:
    return Spending(LINE, spent, now, strong_cost=1000, weak_cost=50, calls=100)


def test_over_the_line_everything_is_cheap_and_under_it_the_harder_part_is_not():
    router, random = numbered(None), Random(7)
    for _ in range(100):
        router.decide(Request(str(random.random())), spending=spending(0))
    over = router.decide(Request("9"), spending=spending(900_000))
    assert (over.tier, over.reasons[-1].name) == ("cheap", "over the spend line")
    assert router.decide(Request("9"), spending=spending(100_000)).tier == "strong"
    assert router.decide(Request("-9"), spending=spending(100_000)).tier == "cheap"


def test_money_for_cheap_calls_is_kept():
    tight = Spending(SpendLine(100_000, 0, 100, head_start=1.0), 60_000, 50.0, 1000, 1000, calls=60)
    decision = numbered(None).decide(Request("9"), spending=tight)
    assert (decision.tier, decision.reasons[-1].name) == ("cheap", "keeping money for cheap calls")


@settings(max_examples=50, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 1), min_size=20, max_size=200),
    budget=st.floats(0.2, 1.0),
    seed=st.integers(0, 100),
)
@example(gaps=[0.0, 2.3e-308, *[0.0] * 17, 1.0], budget=1.0, seed=0)
def test_a_budget_that_pays_for_all_cheap_calls_never_refuses(gaps, budget, seed):
    random, now, spent = Random(seed), 0.0, 0
    end = sum(gaps) + 1e-9
    line = SpendLine(round(budget * 1000 * len(gaps)), 0.0, end)
    router = numbered(None)
    for call, gap in enumerate(gaps):
        now += gap
        state = Spending(line, spent, now, 1000, 50, calls=call)
        cost = 1000 if router.decide(Request(str(random.random())), spending=state).tier == "strong" else 50
        assert cost == 50 or spent + cost <= line.limit
        spent += cost
    # What the early calls spend on strong answers, the late ones must still find as cheap money, bar a sudden flood.
    assert spent <= line.limit + 50 * len(gaps)


PRICED = [
    Tier("cheap", TierPrice(1_000_000_000, 5_000_000_000, cached=100_000_000, write=1_250_000_000)),
    Tier("strong", TierPrice(3_000_000_000, 15_000_000_000, cached=300_000_000, write=3_750_000_000)),
]


def turn(text: str, *, prefix: int = 20_000, session: str = "s", **more) -> Request:
    return Request(text, session=session, input_tokens=prefix + 200, prefix_tokens=prefix, output_tokens=300, **more)


def test_a_session_goes_up_at_once_and_stays_while_the_cache_is_worth_more():
    router = Router(PRICED, score=by_number, threshold=0.5)
    assert router.decide(turn("0")).tier == "cheap"
    assert router.decide(turn("1")).tier == "strong"
    kept = router.decide(turn("0"))
    assert kept.tier == "strong"
    assert "lost cache" in kept.because
    assert router.decide(turn("0", session="other")).tier == "cheap"
    assert router.decide(turn("0", prefix=100)).tier == "cheap"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["0", "1"]), st.sampled_from([100, 50_000]), st.booleans()), max_size=60))
def test_a_session_never_flaps(turns):
    router = Router(PRICED, score=by_number, threshold=0.5)
    seen = []
    for text, prefix, poor in turns:
        money = spending(990_000) if poor else None
        seen.append(router.decide(turn(text, prefix=prefix), spending=money).tier)
    changes = sum(one != two for one, two in zip(seen, seen[1:], strict=False))
    assert changes <= 5


def test_a_model_is_not_changed_downwards_in_a_tool_loop():
    router = Router(PRICED, score=by_number, threshold=0.5)
    router.decide(turn("1", prefix=100))
    loop = Request.of([Message("user", "0"), Message("assistant", ""), Message("tool", "{}")], session="s")
    assert router.decide(loop).tier == "strong"


def test_an_escalation_is_told_and_keeps_its_session_up():
    router = Router(PRICED, score=by_number, threshold=0.5)
    request = turn("0")
    first = router.decide(request)
    assert first.saved == 2 * (20_200 * 1000 + 300 * 5000)
    up = router.escalated(first, request, Verdict(ok=False, reason="not JSON"))
    assert up is not None
    assert (up.tier, up.escalated, up.saved) == ("strong", True, 0)
    assert up.because.endswith("escalated: not JSON")
    assert router.escalated(up, request, Verdict(ok=False)) is None
    assert router.decide(request).tier == "strong"


def test_a_downgrade_takes_the_next_cheaper_tier_that_can():
    router = Router([Tier("a", tools=False), "b", "c"], score=branches((lambda _: True, "c")))
    request = Request("x", tools=1)
    lower = router.cheaper(router.decide(request), request)
    assert lower is not None
    assert lower.tier == "b"
    assert lower.because == "condition 1, downgraded: budget"
    assert router.cheaper(lower, request) is None


def test_a_judge_is_asked_near_the_cut_only_and_decides_the_side():
    asked, verdicts, random = [], [], Random(8)

    def judge(request):
        asked.append(request.text)
        return verdicts.pop() if verdicts else float(random.random() < 0.5)

    router = numbered(0.3, judge=judge)
    for _ in range(300):
        router.decide(Request(str(random.random())))
    assert 0.1 < len(asked) / 300 < 0.35
    asked.clear()
    router.decide(Request("0.01"))
    assert not asked
    verdicts[:] = [0.1, 0.9]
    up, down = router.decide(Request("0.69")), router.decide(Request("0.71"))
    assert (up.tier, up.reasons[-1]) == ("strong", Reason("judge", 0.9))
    assert (down.tier, down.reasons[-1]) == ("cheap", Reason("judge", 0.1))


def test_a_judge_that_fails_leaves_the_score_standing():
    def judge(_):
        raise TimeoutError

    router = numbered(0.5, judge=judge)
    assert "judge failed: TimeoutError" in router.decide(Request("1")).because


def test_a_decision_as_plain_values():
    router = Router(["cheap", "strong"], score=by_number, threshold=0.5)
    assert router.decide(Request("0.75")).with_costs(400, strongest=1000).as_dict() == {
        "tier": "strong",
        "reason": "number +0.75",
        "score": 0.75,
        "cut": 0.5,
        "reasons": [["number", 0.75]],
        "escalated": False,
        "saved_usd": "0.000000600",
    }
