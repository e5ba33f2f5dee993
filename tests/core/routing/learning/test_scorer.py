"""Learning from paired rows: what is learned, what is refused, what the file holds, how it is measured."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from costguard_core.errors import ConfigurationError
from costguard_core.routing import Learned, Request, Router, drift, learned
from costguard_core.routing.learning.evaluation import cross_validated, prove, stratified
from costguard_core.routing.learning.metrics import Curve, points
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.learning.training import train

WORDS = "river table green window paper walk seven music cloud letter stone bread".split()


def rows(count: int, *, seed: int = 0, tagged: bool = False, signal: bool = True) -> list[Row]:
    """Questions with the word "theorem" need the strong model; those of the tag "legal" do too."""
    random = Random(seed)
    made = []
    for _ in range(count):
        hard, tag = random.random() < 0.4, random.choice(["faq", "legal"])
        text = " ".join([*random.choices(WORDS, k=12), *(["theorem"] if hard else [])])
        needs = (hard or (tagged and tag == "legal")) if signal else random.random() < 0.4
        weak = float(random.random() < (0.3 if needs else 0.8))
        made.append(Row(text, weak, float(random.random() < 0.85), tag if tagged else None))
    return made


def test_it_learns_which_wording_needs_the_strong_model():
    scorer = train(rows(400))
    assert scorer(Request("music theorem river")).value > scorer(Request("music paper river")).value
    held_out = rows(1000, seed=1)
    curve = Curve.of(
        [scorer(Request(r.prompt)).value for r in held_out], [r.weak for r in held_out], [r.strong for r in held_out]
    )
    assert curve.apgr.low > 0.6


def test_it_learns_the_call_site_and_names_it():
    score = train(rows(400, tagged=True))(Request("paper", tag="legal"))
    assert score.reasons[0].name == "tag legal"
    assert score.reasons[0].weight > 0


def test_an_unknown_call_site_counts_as_average():
    scorer = train(rows(400, tagged=True))
    values = {tag: scorer(Request("paper", tag=tag)).value for tag in ("legal", "faq", "new", None)}
    assert values["faq"] < values["new"] == values[None] < values["legal"]


def test_the_file_is_small_keeps_no_prompt_and_reads_back(tmp_path):
    scorer, _ = prove(rows(150, tagged=True))
    scorer.save(tmp_path / "router.json")
    text = (tmp_path / "router.json").read_text()
    assert len(text) < 80_000
    assert not any(word in text for word in [*WORDS, "theorem"])
    loaded = learned(tmp_path / "router.json")
    for row in rows(20, seed=2, tagged=True):
        request = Request(row.prompt, tag=row.tag)
        assert loaded(request).value == pytest.approx(scorer(request).value, abs=1e-9)


def test_a_router_that_does_not_beat_chance_is_refused(tmp_path):
    scorer, evaluation = prove(rows(200, signal=False))
    assert not evaluation.better_than_chance
    scorer.save(tmp_path / "router.json")
    with pytest.raises(ConfigurationError, match=r"interval \[.*\] on 200 rows contains 0.5"):
        learned(tmp_path / "router.json")
    assert isinstance(learned(tmp_path / "router.json", unproven=True), Learned)


def test_a_router_nobody_evaluated_is_refused(tmp_path):
    train(rows(100)).save(tmp_path / "router.json")
    with pytest.raises(ConfigurationError, match="never evaluated"):
        learned(tmp_path / "router.json")


@pytest.mark.slow
def test_noise_is_activated_about_as_rarely_as_promised():
    proven = sum(cross_validated(rows(150, seed=seed, signal=False)).better_than_chance for seed in range(10))
    assert proven <= 2


def test_a_router_file_written_before_still_opens_and_scores_the_same():
    scorer = learned(Path(__file__).with_name("router_version_1.json"))
    assert scorer(Request("prove the theorem about the price", tag="/maths")).value == pytest.approx(1.056073465439764)
    assert scorer(Request("which colour please")).value == pytest.approx(-0.2691140522837646)
    assert scorer.proof is not None
    assert scorer.proof.better_than_chance


def test_training_without_its_extra_names_it():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from costguard_core.routing.learning.training import Row, train\n"
        "train([Row(str(n), 0, 1) for n in range(20)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in done.stderr
    assert "langchain-costguard[router]" in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"costguard_router": 99}', "null", '{"costguard_router": 1}'])
def test_what_is_not_a_router_file_is_refused(tmp_path, text):
    (tmp_path / "router.json").write_text(text)
    with pytest.raises(ConfigurationError, match="not a usable router file"):
        learned(tmp_path / "router.json")


def test_a_file_of_other_features_is_refused():
    raw = json.loads(train(rows(50)).to_json())
    raw["text"]["names"][0] = "something newer"
    with pytest.raises(ConfigurationError):
        Learned.from_json(json.dumps(raw))


def test_too_few_rows_are_refused():
    with pytest.raises(ConfigurationError, match="too few to learn from"):
        train(rows(19))
    with pytest.raises(ConfigurationError, match="too few for 5 folds"):
        cross_validated(rows(99))


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_rows_that_all_say_the_same_teach_nothing_and_break_nothing(gain):
    same = [Row(f"question {n}", 1.0 - gain, 1.0) for n in range(50)]
    assert train(same)(Request("question 3")).value == pytest.approx(train(same)(Request("question 4")).value, abs=1e-6)


def test_a_strong_model_that_is_no_better_is_not_proven():
    even = [Row(f"question {n % 7}", 1.0, 1.0) for n in range(200)]
    evaluation = cross_validated(even)
    assert not evaluation.better_than_chance
    assert evaluation.one_model == "weak"


def test_answers_teach_doubt():
    random = Random(3)

    def answered(right):
        return f"so it is #### {random.randint(1, 99)}" if right else "I have no idea."

    made = [Row("what is it", float(n % 3 > 0), 1.0, answer=answered(n % 3 > 0)) for n in range(300)]
    scorer = train(made)
    request = Request("what is it")
    assert scorer.doubt(request, "Nobody knows.").value > scorer.doubt(request, "so it is #### 8").value


def test_a_trained_scorer_starts_the_cut_warm():
    scorer = train(rows(400))
    router = Router(["cheap", "strong"], score=scorer, share=0.4)
    sent = {"strong": 0, "cheap": 0}
    for row in rows(200, seed=4):
        sent[router.explain(Request(row.prompt)).tier] += "theorem" in row.prompt or -1
    assert sent["strong"] > 40
    assert sent["cheap"] < -40


def test_drift_is_told_when_the_scores_move_and_only_then():
    scorer, random = train(rows(400)), Random(5)
    same = [scorer(Request(row.prompt)).value for row in rows(400, seed=9)]
    assert drift(scorer.quantiles, same).hint is None
    moved = drift(scorer.quantiles, [value + 1.5 for value in same])
    assert moved.retrain
    assert "train the router again" in moved.hint
    assert drift(scorer.quantiles, [random.random() + 9 for _ in range(50)]).hint is None


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    script = Path(__file__).parents[4] / "benchmarks" / "routing.py"
    return subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_benchmark_reads_any_file_of_paired_rows(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        for number, row in enumerate(rows(300, tagged=True)):
            answer = f"so #### {number}" if row.weak or number % 3 else "no idea"
            raw = {"prompt": row.prompt, "weak": row.weak, "strong": row.strong, "tag": row.tag}
            lines.write(json.dumps(raw | {"weak_response": answer}) + "\n")
    plain = json.loads(benchmark(path, "--train-rows", 100, "--folds", 2, "--json").stdout)
    assert plain["apgr"] > plain["results"]["random"]["apgr"]
    assert (plain["rows"], plain["tags"], plain["train_rows"], plain["folds"]) == (300, 2, 100, 2)
    assert {pattern["refused"] for pattern in plain["budget"].values()} == {0.0}
    cascade = json.loads(benchmark(path, "--verify", "--train-rows", 0, "--folds", 2, "--json").stdout)
    assert cascade["gate"]["gap_recovered"] > 25


def test_the_benchmark_says_when_there_is_nothing_to_measure(tmp_path):
    absent = benchmark(tmp_path / "absent.jsonl")
    assert absent.returncode == 2
    assert "no such file" in absent.stderr


class TestMetrics:
    """Against numbers worked out by hand."""

    weak, strong = [1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]

    def test_a_perfect_order(self):
        curve = Curve.of([0, 1, 0, 1], self.weak, self.strong)
        assert curve.recovered == pytest.approx((0.0, 0.25, 0.5, 0.5, 0.5))
        assert (curve.cpt(50), curve.cpt(80), curve.calls_for(0.95)) == (25.0, 50.0, 50.0)
        assert curve.apgr.value == pytest.approx(0.75)  # area under 0, .5, 1, 1, 1

    def test_equal_scores_are_a_random_order(self):
        curve = Curve.of([7, 7, 7, 7], self.weak, self.strong)
        assert curve.apgr.value == pytest.approx(0.5)
        assert curve.cpt(50) == 50.0

    def test_a_random_order_is_one_half_and_its_interval_says_so(self):
        random = Random(0)
        weak = [float(random.random() < 0.6) for _ in range(1000)]
        strong = [float(random.random() < 0.8) for _ in range(1000)]
        inside = 0
        for seed in range(60):
            scores = [Random(seed * 10_000 + n).random() for n in range(1000)]
            interval = Curve.of(scores, weak, strong).apgr
            inside += interval.low <= 0.5 <= interval.high
        assert inside >= 52

    def test_no_gap_is_no_number(self):
        interval = Curve.of([1, 2], [1.0, 1.0], [1.0, 1.0]).apgr
        assert interval.low == float("-inf")

    def test_the_ends_of_the_curve_are_the_two_models(self):
        curve = points([3, 1, 2, 0], self.weak, self.strong, steps=4)
        assert (curve[0].quality.value, curve[-1].quality.value) == (0.5, 1.0)


def test_every_stretch_of_a_stratified_order_holds_the_tags_in_proportion():
    tags = ["a"] * 600 + ["b"] * 300 + [None] * 100
    order = stratified(tags, seed=1)
    assert sorted(order) == list(range(1000))
    head = [tags[row] for row in order[:100]]
    assert (head.count("a"), head.count("b")) == pytest.approx((60, 30), abs=2)
