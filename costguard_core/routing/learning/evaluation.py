"""Is a router worth switching on? Cross-validation on the user's own rows, next to the baselines of an honest table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from costguard_core.errors import ConfigurationError
from costguard_core.routing.learning.metrics import Curve, Interval, Point, mean_interval, points
from costguard_core.routing.learning.scorer import Learned, Proof
from costguard_core.routing.learning.training import Row, fit, prepared, train
from costguard_core.routing.request import Request

NEAR_BEST = 0.99  # "just use one model" counts the cheapest one that is within one percent of the best


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Out-of-fold results. Qualities are 0..1, shares are 0..1 of calls that the strong model answered."""

    rows: int
    folds: int
    weak: Interval
    strong: Interval
    apgr: Interval
    length_apgr: float
    calls_for_95: float
    curve: tuple[Point, ...]
    quantiles: tuple[float, ...]

    @property
    def better_than_chance(self) -> bool:
        """Whether the whole 95 % interval of APGR lies above 0.5."""
        return self.apgr.low > 0.5

    @property
    def one_model(self) -> str | None:
        """``"weak"`` when the weak model alone is within one percent of the strong one: then no router is needed."""
        return "weak" if self.weak.value >= NEAR_BEST * self.strong.value else None


def cross_validated(rows: Iterable[Row], *, folds: int = 5, seed: int = 0) -> Evaluation:
    """Train on all folds but one, score that one, and measure the whole: nothing is scored by what has seen it.

    Raises:
        ConfigurationError: too few rows for so many folds.
    """
    given = list(rows)
    if folds < 2 or len(given) < 20 * folds:
        raise ConfigurationError(f"{len(given)} rows are too few for {folds} folds: 20 rows a fold at least")
    scores = [0.0] * len(given)
    for test, scorer in _folds(given, folds, seed):
        unit = _spread([_score(scorer, given[row]) for row in test])
        for row in test:
            scores[row] = _score(scorer, given[row]) / unit
    return _measured(given, scores, folds)


def measured_on(scorer: Learned, rows: Iterable[Row]) -> Evaluation:
    """What a trained scorer is worth on rows that it has not seen. ``folds`` is 0.

    Raises:
        ConfigurationError: fewer than 20 rows.
    """
    given = list(rows)
    if len(given) < 20:
        raise ConfigurationError(f"{len(given)} rows are too few to measure a router: 20 at least, better 200")
    return _measured(given, [_score(scorer, row) for row in given], 0)


def prove(rows: Iterable[Row], *, folds: int = 5, seed: int = 0) -> tuple[Learned, Evaluation]:
    """Train on all rows and attach what cross-validation on them says; ``learned()`` refuses one that is not proven."""
    given = list(rows)
    evaluation = cross_validated(given, folds=folds, seed=seed)
    proof = Proof(len(given), evaluation.apgr.value, evaluation.apgr.low, evaluation.apgr.high)
    return replace(train(given), proof=proof), evaluation


def stratified(tags: Sequence[str | None], *, seed: int) -> list[int]:
    """All row numbers in random order such that every stretch holds each tag in its proportion."""
    random = Random(seed)
    order = list(range(len(tags)))
    random.shuffle(order)
    members: dict[str | None, list[int]] = {}
    for row in order:
        members.setdefault(tags[row], []).append(row)
    spots = {
        row: (place + random.random()) / len(group) for group in members.values() for place, row in enumerate(group)
    }
    return sorted(order, key=spots.__getitem__)


def score_row(scorer: Learned, row: Row) -> float:
    """The scorer's value for a row: of its request, or of the weak answer when both know answers."""
    return _score(scorer, row)


def _score(scorer: Learned, row: Row) -> float:
    request = Request(row.prompt, tag=row.tag)
    return (scorer(request) if row.answer is None else scorer.doubt(request, row.answer)).value


def _folds(rows: Sequence[Row], folds: int, seed: int) -> Iterator[tuple[list[int], Learned]]:
    answers = all(row.answer is not None for row in rows)
    ready = [prepared(row, answers=answers) for row in rows]
    order = stratified([row.tag for row in rows], seed=seed)
    for fold in range(folds):
        test = order[fold::folds]
        held = set(test)
        yield test, fit([ready[row] for row in order if row not in held])


def _measured(rows: Sequence[Row], scores: Sequence[float], folds: int) -> Evaluation:
    weak, strong = [row.weak for row in rows], [row.strong for row in rows]
    curve = Curve.of(scores, weak, strong)
    ordered = sorted(scores)
    return Evaluation(
        rows=len(rows),
        folds=folds,
        weak=mean_interval(weak),
        strong=mean_interval(strong),
        apgr=curve.apgr,
        length_apgr=Curve.of([float(len(row.prompt)) for row in rows], weak, strong).apgr.value,
        calls_for_95=curve.calls_for(0.95),
        curve=points(scores, weak, strong),
        quantiles=tuple(ordered[min(len(ordered) - 1, step * len(ordered) // 100)] for step in range(101)),
    )


def _spread(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 or 1.0
