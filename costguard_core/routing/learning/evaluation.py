"""Whether a router is worth using: cross-validation on the user's own rows, next to simple baselines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from costguard_core.errors import ConfigurationError
from costguard_core.routing.learning.metrics import Curve, Interval, Point, mean_interval, points
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.learning.scorer import Learned, Proof
from costguard_core.routing.learning.training import fit, prepared, train
from costguard_core.routing.request import Request

MIN_ROWS = 20  # for each fold (a choice: fewer have no interval to speak of)
NEAR_BEST = 0.99  # part of the strong model's quality at which the weak one alone will do (a choice)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a router is worth on rows that it was not trained on. Qualities are 0 to 1.

    Attributes:
        rows: how many.
        folds: of cross-validation; 0: one trained scorer was measured.
        weak: mean quality when the weak model answers everything.
        strong: mean quality when the strong model answers everything.
        apgr: average part of the gap recovered; .5 is chance.
        length_apgr: the same when the longest prompts go to the strong model.
        calls_for_95: percent of strong calls that reach 95 % of the strong model's quality.
        curve: quality at every tenth of strong calls.
        quantiles: percentiles of the scores.
    """

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
        """Whether the whole 95 % interval of APGR lies above .5."""
        return self.apgr.low > 0.5

    @property
    def one_model(self) -> str | None:
        """``"weak"`` when the weak model alone is within one percent of the strong one: then no router is needed."""
        return "weak" if self.weak.value >= NEAR_BEST * self.strong.value else None


def cross_validated(rows: Iterable[Row], *, folds: int = 5, seed: int = 0) -> Evaluation:
    """Score each fold with a scorer trained on the others, and measure the whole.

    Raises:
        ConfigurationError: too few rows for so many folds.
    """
    known = list(rows)
    if folds < 2 or len(known) < MIN_ROWS * folds:
        raise ConfigurationError(f"{len(known)} rows are too few for {folds} folds: {MIN_ROWS} rows a fold at least")
    scores = [0.0] * len(known)
    for test, scorer in _folds(known, folds, seed):
        unit = _spread([score_row(scorer, known[row]) for row in test])
        for row in test:
            scores[row] = score_row(scorer, known[row]) / unit
    return _measured(known, scores, folds)


def measured_on(scorer: Learned, rows: Iterable[Row]) -> Evaluation:
    """What a trained scorer is worth on rows that it was not trained on.

    Raises:
        ConfigurationError: fewer than 20 rows.
    """
    known = list(rows)
    if len(known) < MIN_ROWS:
        raise ConfigurationError(f"{len(known)} rows are too few to measure a router: {MIN_ROWS} at least, better 200")
    return _measured(known, [score_row(scorer, row) for row in known], 0)


def prove(rows: Iterable[Row], *, folds: int = 5, seed: int = 0) -> tuple[Learned, Evaluation]:
    """Train on all rows and attach what cross-validation says, which :func:`learned` asks for.

    Raises:
        ConfigurationError: too few rows for so many folds.
    """
    known = list(rows)
    evaluation = cross_validated(known, folds=folds, seed=seed)
    proof = Proof(len(known), evaluation.apgr.value, evaluation.apgr.low, evaluation.apgr.high)
    return replace(train(known), proof=proof), evaluation


def stratified(tags: Sequence[str | None], *, seed: int) -> list[int]:
    """All row numbers in random order, such that every stretch of it holds each tag in its proportion."""
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
    """The scorer's value for a row: of its request, or with its answer if it has one."""
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
