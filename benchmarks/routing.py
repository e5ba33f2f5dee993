"""How well the shipped scorers route, next to the baselines that every honest table needs.

    python benchmarks/routing.py rows.jsonl.gz --train-rows 2000 --folds 5
    python benchmarks/routing.py rows.jsonl.gz --train-rows 2000 --no-tags          # text only
    python benchmarks/routing.py rows.jsonl.gz --score rules --json
    python benchmarks/routing.py rows.jsonl.gz --verify --train-rows 500            # cascade: the weak answer is read

The file is JSON lines (gzip too): ``prompt``, ``weak`` and ``strong`` (qualities 0..1), optional ``tag`` (the call
site) and ``weak_response`` (for ``--verify``). Other layouts: ``--weak scores.small-model --strong scores.large-model
--tag task``.

APGR, CPT50 and CPT80 are RouteLLM's measures (costguard_core/routing/learning/metrics.py); calls95 is the percentage of
strong calls that reaches 95 % of the strong model's quality. Every fold draws its own training rows, in proportion to
the tags, and is measured on all rows that it did not draw; results are means over folds with their standard deviation.
The budget table streams test rows through the shipped ``Router`` with a budget of 40 % of what all-strong costs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from statistics import fmean, pstdev
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.routing import Answer, Learned, Request, Router, Score, Spending, SpendLine, rules
from costguard_core.routing.checks.answer_profile import usual
from costguard_core.routing.learning.evaluation import NEAR_BEST, stratified
from costguard_core.routing.learning.metrics import Curve
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.learning.training import fit, prepared

STREAM = 5000  # requests of the budget simulation
NO_GAP = "the strong model is no better than the weak one: there is no gap to recover (nan), use the weak one"
FEWEST = 20  # training rows
MOST = 0.8  # of a file's rows may be for training: the others measure
PRICE_RATIO = 0.05  # weak over strong, per request
BUDGET = 0.40  # of what all-strong costs
MEASURES = ("apgr", "cpt50", "cpt80", "calls95")
ARRIVALS: dict[str, Callable[[float], float]] = {  # relative rate at a time 0..1
    "uniform": lambda _: 1.0,
    "3x late": lambda t: 3.0 if t >= 0.5 else 1.0,
    "3x early": lambda t: 3.0 if t < 0.5 else 1.0,
    "daily wave": lambda t: 1.0 + 0.9 * math.sin(2 * math.pi * 7 * t),
}
Scoring = Callable[[Row], float]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.score == "learned" and options.train_rows == 0:
        options.score = "rules"
    try:
        rows = list(_rows(options))
        usable = [row for row in rows if row.answer is not None] if options.verify else rows
        _check(usable, options, without=len(rows) - len(usable))
        report = measured(usable, options) | {"without_weak_response": len(rows) - len(usable)}
    except ConfigurationError as error:
        print(f"{options.file}: {error}. Nothing was measured.", file=sys.stderr)
        return 2
    print(json.dumps(_plain(report), indent=2, allow_nan=False) if options.json else as_text(report))
    return 0


def _check(rows: Sequence[Row], options: argparse.Namespace, *, without: int) -> None:
    if options.folds < 1:
        raise ConfigurationError("--folds is at least 1, for a mean with a deviation at least 2")
    if options.train_rows is not None and options.train_rows != 0 and options.train_rows < FEWEST:
        raise ConfigurationError(f"--train-rows is 0 (nothing is learned, the rules score) or at least {FEWEST}")
    learns = options.score == "learned"
    needed = 2 * FEWEST if learns else 2
    if len(rows) < needed:
        reason = f": {FEWEST} to learn from and as many to measure with" if learns else ""
        left_out = f" (and {without} without the weak_response that --verify reads)" if without else ""
        raise ConfigurationError(f"{len(rows)} rows{left_out} are too few, {needed} are needed{reason}")


def measured(rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Any]:
    """Everything the table shows, as plain values."""
    folds = [Fold(rows, options, seed) for seed in range(options.seed, options.seed + options.folds)]
    contenders: dict[str, Callable[[Fold], Scoring]] = {
        options.score: Fold.scoring,
        "length": lambda _: lambda row: float(len(row.prompt)),
        "random": lambda fold: lambda _: fold.random.random(),
    }
    if options.verify:
        contenders = {"checks": Fold.suspicion, **contenders}
    weak, strong = fmean(row.weak for row in rows), fmean(row.strong for row in rows)
    report: dict[str, Any] = {
        "file": options.file.name,
        "rows": len(rows),
        "tags": len({row.tag for row in rows} - {None}),
        "score": options.score,
        "train_rows": folds[0].trained_on,
        "folds": options.folds,
        "verify": options.verify,
        "weak": weak,
        "strong": strong,
        "single_best_within_1_percent": "weak" if weak >= NEAR_BEST * strong else "strong",
        "results": {name: _over_folds(folds, scoring) for name, scoring in contenders.items()},
        "decision_ms": _decision_time(folds[0]),
    }
    if not options.verify:  # a cascade pays for every weak answer before it decides: another budget than this one
        report["budget"] = _budget(folds)
    else:
        report["gate"] = _averaged([fold.gate() for fold in folds])
    return report | report["results"][options.score]


class Fold:
    """One split: a scorer trained on some rows, and the rows it is tested on."""

    def __init__(self, rows: Sequence[Row], options: argparse.Namespace, seed: int) -> None:
        self.options, self.random = options, Random(seed)
        order = stratified([row.tag for row in rows], seed=seed)
        wanted = options.train_rows if options.train_rows is not None else min(2000, len(rows) // 2)
        cut = min(wanted, int(MOST * len(rows)))
        self.trained_on = cut if options.score == "learned" else 0
        self.train, self.test = [rows[row] for row in order[:cut]], [rows[row] for row in order[cut:]]
        self.random.shuffle(self.test)
        self._scorer: Callable[[Request], Score | None] | None = None

    @property
    def scorer(self) -> Callable[[Request], Score | None]:
        """The shipped scorer under test, trained once."""
        if self._scorer is None:
            self._scorer = self._made()
        return self._scorer

    def scoring(self) -> Scoring:
        """A number for each row from the shipped scorer; *no opinion* counts as the middle."""
        scorer = self.scorer
        if isinstance(scorer, Learned) and self.options.verify:
            return lambda row: scorer.doubt(_request(row), row.answer or "").value
        if not self.options.verify:
            return lambda row: _value(scorer(_request(row)))
        suspicion = self.suspicion()  # untrained: failed checks first, the score of the question breaks the ties
        return lambda row: suspicion(row) + 0.5 + math.atan(_value(scorer(_request(row)))) / math.pi

    def suspicion(self) -> Scoring:
        """Untrained: how many checks the weak answer fails. The usual shape is taken from unlabelled answers."""
        suspect = usual(row.answer or "" for row in (self.train or self.test)[:500])
        return lambda row: float(len(suspect.failures(Answer(row.answer or ""))))

    def curve(self, scoring: Scoring) -> Curve:
        return Curve.of(
            [scoring(row) for row in self.test], [row.weak for row in self.test], [row.strong for row in self.test]
        )

    def gate(self) -> dict[str, float]:
        """The cascade as shipped: every answer that fails a check is escalated."""
        scoring = self.suspicion()
        failed = [scoring(row) > 0 for row in self.test]
        quality = fmean(row.strong if fails else row.weak for row, fails in zip(self.test, failed, strict=True))
        weak, strong = fmean(row.weak for row in self.test), fmean(row.strong for row in self.test)
        gap = strong - weak
        recovered = 100 * (quality - weak) / gap if gap else math.nan
        return {"escalated": 100 * fmean(failed), "quality": 100 * quality, "gap_recovered": recovered}

    def _made(self) -> Callable[[Request], Score | None]:
        if self.options.score == "learned":
            return fit([prepared(row, answers=bool(self.options.verify)) for row in self.train])
        shipped = {"rules": rules(), "length": lambda request: Score(float(len(request.text)))}
        return shipped.get(self.options.score, lambda _: Score(self.random.random()))


def _value(score: Score | None) -> float:
    return 0.0 if score is None else score.value


def _request(row: Row) -> Request:
    return Request(row.prompt, tag=row.tag)


def _over_folds(folds: Sequence[Fold], contender: Callable[[Fold], Scoring]) -> dict[str, float]:
    curves = [fold.curve(contender(fold)) for fold in folds]
    return _averaged(
        [
            {
                "apgr": curve.apgr.value,
                "cpt50": curve.cpt(50),
                "cpt80": curve.cpt(80),
                "calls95": curve.calls_for(0.95),
            }
            for curve in curves
        ]
    )


def _averaged(results: Sequence[dict[str, float]]) -> dict[str, float]:
    means = {name: fmean(result[name] for result in results) for name in results[0]}
    return means | {f"{name}_sd": _deviation([result[name] for result in results]) for name in results[0]}


def _deviation(values: Sequence[float]) -> float:
    return pstdev(values) if all(map(math.isfinite, values)) else math.nan


def _plain(value: Any) -> Any:
    """JSON has no word for what cannot be measured but ``null``."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _decision_time(fold: Fold) -> dict[str, float]:
    """Milliseconds of CPU for one decision: scoring, cut and record, in one thread."""
    router = Router(["weak", "strong"], score=fold.scorer, share=0.3)
    took = []
    for row in fold.test[:2000]:
        request = _request(row)
        start = time.thread_time_ns()
        router.decide(request)
        took.append((time.thread_time_ns() - start) / 1e6)
    took.sort()
    return {"p50": took[len(took) // 2], "p95": took[len(took) * 95 // 100]}


def _budget(folds: Sequence[Fold]) -> dict[str, dict[str, float]]:
    """Quality (percent) and refusals (percent) per arrival pattern under a budget of 40 % of all-strong."""
    return {name: _averaged([_streamed(fold, rate) for fold in folds]) for name, rate in ARRIVALS.items()}


def _streamed(fold: Fold, rate: Callable[[float], float]) -> dict[str, float]:
    rows = fold.test[:STREAM]
    scoring = Fold.scoring(fold)
    strong_cost = 1_000_000
    weak_cost = round(strong_cost * PRICE_RATIO)
    line = SpendLine(limit=round(BUDGET * strong_cost * len(rows)), start=0.0, end=1.0)
    router = Router(["weak", "strong"], score=_scoring_text(rows, scoring))
    spent, hard_spent, quality, hard, refused = 0, 0, 0.0, 0.0, 0
    for call, (row, now) in enumerate(zip(rows, _times(len(rows), rate), strict=True)):
        spending = Spending(line, spent, now, strong_cost, weak_cost, calls=call)
        strong = router.decide(_request(row), spending=spending).tier == "strong"
        cost = strong_cost if strong else weak_cost
        if spent + cost > line.limit:
            refused += 1
        else:
            spent += cost
            quality += row.strong if strong else row.weak
        if hard_spent + strong_cost <= line.limit:
            hard_spent += strong_cost
            hard += row.strong
    return {
        "quality": 100 * quality / len(rows),
        "refused": 100 * refused / len(rows),
        "spent": 100 * spent / line.limit,
        "hard_limit_quality": 100 * hard / len(rows),
    }


def _scoring_text(rows: Sequence[Row], scoring: Scoring) -> Callable[[Request], Score | None]:
    values = {(row.prompt, row.tag): scoring(row) for row in rows}
    return lambda request: Score(values[request.text, request.tag])


def _times(count: int, rate: Callable[[float], float]) -> Iterator[float]:
    """When ``count`` requests arrive in the period 0..1 under a relative rate: the inverse of its integral."""
    steps = 10_000
    total = list(accumulate(rate(step / steps) for step in range(steps)))
    place = 0
    for call in range(count):
        while total[place] < (call + 0.5) / count * total[-1]:
            place += 1
        yield place / steps


def _rows(options: argparse.Namespace) -> Iterator[Row]:
    opened = gzip.open if options.file.suffix == ".gz" else open
    try:
        with opened(options.file, "rt", encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row(line, options, f"line {number}")
    except FileNotFoundError as error:
        raise ConfigurationError("no such file") from error
    except (OSError, EOFError, UnicodeError, zlib.error) as error:
        raise ConfigurationError(f"cannot be read ({type(error).__name__}: {error})") from error


def _row(line: str, options: argparse.Namespace, where: str) -> Row:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where} is not JSON") from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{where} is not a JSON object")
    prompt = raw.get("prompt")
    if not isinstance(prompt, str):
        raise ConfigurationError(f"{where}: prompt is {'not text' if 'prompt' in raw else 'missing'}")
    tag = None if options.no_tags else _field(raw, options.tag)
    answer = raw.get("weak_response") if options.verify else None
    weak, strong = _quality(raw, options.weak, where), _quality(raw, options.strong, where)
    return Row(prompt, weak, strong, None if tag is None else str(tag), None if answer is None else str(answer))


def _quality(raw: dict[str, Any], path: str, where: str) -> float:
    found = _field(raw, path)
    if found is None:
        raise ConfigurationError(f"{where}: {path} is missing")
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{where}: {path} is a quality from 0 to 1, not {found!r:.40}")
    return value


def _field(raw: dict[str, Any], path: str) -> Any:
    """A field, or one level down: model names contain dots, so only the first one parts. ``None`` if there is none."""
    outer, _, inner = path.partition(".")
    if path in raw or not inner:
        return raw.get(path)
    held = raw.get(outer)
    return held.get(inner) if isinstance(held, dict) else None


def as_text(report: dict[str, Any]) -> str:
    """The table for people."""
    lines = [
        f"{report['file']}: {report['rows']} rows, {report['tags']} tags",
        f"weak {100 * report['weak']:.1f}, strong {100 * report['strong']:.1f}",
        f"{report['train_rows']} training rows, {report['folds']} folds",
        f"single best model within 1 %: {report['single_best_within_1_percent']}",
        *([f"left out: {left} rows without a weak_response"] if (left := report["without_weak_response"]) else []),
        *([] if report["strong"] > report["weak"] else [NO_GAP]),
        f"{'':12}" + "".join(f"{name:>16}" for name in MEASURES),
    ]
    for name, result in report["results"].items():
        lines.append(f"{name:12}" + "".join(_cell(result, measure) for measure in MEASURES))
    if "gate" in report:
        gate = report["gate"]
        lines.append(
            f"cascade: {gate['escalated']:.1f} % escalated, quality {gate['quality']:.2f}, "
            f"{gate['gap_recovered']:.1f} % of the gap recovered"
        )
    times = report["decision_ms"]
    lines.append(f"one decision: p50 {times['p50']:.3f} ms, p95 {times['p95']:.3f} ms of one core")
    if "budget" in report:
        lines.append(f"budget of {BUDGET:.0%} of all-strong (quality / refused %; hard limit):")
    for name, result in report.get("budget", {}).items():
        lines.append(
            f"  {name:10} {result['quality']:.1f} ± {result['quality_sd']:.1f} / {result['refused']:.1f}"
            f"   (hard limit {result['hard_limit_quality']:.1f})"
        )
    return "\n".join(lines)


def _cell(result: dict[str, float], measure: str) -> str:
    digits = 3 if measure == "apgr" else 1
    return f"{result[measure]:>9.{digits}f} ±{result[f'{measure}_sd']:>5.{digits}f}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--score", choices=("learned", "rules", "length", "random"), default="learned")
    parser.add_argument("--train-rows", type=int, help="default: 2000, at most half of the file; 0: none")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the first fold")
    parser.add_argument("--verify", action="store_true", help="cascade: read weak_response before deciding")
    parser.add_argument("--no-tags", action="store_true", help="text only")
    parser.add_argument("--weak", default="weak", metavar="FIELD")
    parser.add_argument("--strong", default="strong", metavar="FIELD")
    parser.add_argument("--tag", default="tag", metavar="FIELD")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
