"""Fitting the learned scorer to paired rows: what did the strong model's answer add over the weak one's?

The label is strong minus weak. Labels that only say where the cheap model failed cap out far lower, because much of
what it fails the strong model fails too. Needs numpy, imported here and nowhere at decision time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.routing.checks.answers import ANSWER_FEATURES, described_answer
from costguard_core.routing.learning.features import FEATURES, described, excerpt, hashed, tokens
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.learning.scorer import CLIP, Grams, Learned, Linear

Matrix = Any  # numpy arrays: numpy is not imported here, so that deciding never needs it

BUCKETS = 8192  # word grams are hashed into this many weights
RIDGE = 16.0  # penalty on weights of rows of length one: as if each weight had been seen 16 times doing nothing
NAMED_SCALE = 0.1  # a standardised named feature against a word gram: all of them together weigh about half a text
TAG_PRIOR = 8.0  # a call site starts as 8 rows of the overall mean
TEXT_SHARE = 0.5  # of the text against the call site with many rows, both in standard deviations
TEXT_ROWS = 300  # with so many it is half of that: text needs more rows than a table of call sites
MAX_TEXT_ROWS = 4000  # the newest; the fit is cubic in them
QUANTILES = 101


class Prepared(NamedTuple):
    """A row's numbers, computed once: gram buckets, named features, and those of the weak model's answer."""

    grams: frozenset[int]
    text: tuple[float, ...]
    answer: tuple[float, ...]
    tag: str | None
    gain: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A linear reading of the text and its leave-one-out predictions for the rows it was fitted to."""

    named: Linear
    grams: Matrix
    bias: float
    unseen: Matrix


def train(rows: Iterable[Row], *, buckets: int = BUCKETS) -> Learned:
    """Fit a scorer. It carries no proof yet: see :func:`costguard_core.routing.learning.evaluation.prove`.

    Args:
        rows: paired rows, oldest first. With an ``answer`` on every row it also learns to doubt answers.
        buckets: how many gram weights; a power of two.

    Raises:
        ConfigurationError: fewer than 20 rows.
        MissingExtraError: numpy is not installed.
    """
    given = list(rows)
    with_answers = all(row.answer is not None for row in given)
    return fit([prepared(row, buckets=buckets, answers=with_answers) for row in given], buckets=buckets)


def prepared(row: Row, *, buckets: int = BUCKETS, answers: bool = False) -> Prepared:
    """The numbers of one row. They do not depend on other rows, so cross-validation computes them once."""
    text = excerpt(row.prompt)
    words = tokens(text)
    return Prepared(
        grams=frozenset(hashed(words, size=buckets)),
        text=described(text, words, length=len(row.prompt)),
        answer=described_answer(row.answer or "") if answers else (),
        tag=row.tag,
        gain=row.strong - row.weak,
    )


def fit(rows: Sequence[Prepared], *, buckets: int = BUCKETS) -> Learned:
    """Fit a scorer to prepared rows (see :func:`train`)."""
    if len(rows) < 20:
        raise ConfigurationError(f"{len(rows)} paired rows are too few to learn from: collect at least 20, better 200")
    np = _numpy()
    recent = rows[-MAX_TEXT_ROWS:]
    text = _fit_text(np, recent, buckets)
    table, by_site = _tag_table(rows)
    share = _text_share(rows, table)
    spread = share / max(float(text.unseen.std()), 1e-9)
    totals = spread * (text.unseen - text.unseen.mean()) + np.array(by_site[-len(recent) :])
    named = _weighted(text.named, spread)
    return Learned(
        bias=spread * (text.bias - float(text.unseen.mean())),
        tags={tag: round(effect, 4) for tag, effect in sorted(table.items())},
        text=_part(named, 0, len(FEATURES)),
        grams=_grams(spread * text.grams),
        answer=_part(named, len(FEATURES), len(named.names)) if len(named.names) > len(FEATURES) else None,
        quantiles=tuple(round(float(q), 4) for q in np.quantile(totals, np.linspace(0, 1, QUANTILES))),
        about={"rows": len(rows), "call_sites": len(table)},
    )


def _text_share(rows: Sequence[Prepared], table: Mapping[str, float]) -> float:
    if not table:
        return 1.0
    # An answer that was checked says more about itself than the call site does.
    if rows[0].answer:
        return 1.0
    return TEXT_SHARE * len(rows) / (len(rows) + TEXT_ROWS)


def _tag_table(rows: Sequence[Prepared]) -> tuple[dict[str, float], list[float]]:
    """Standardised shrunk mean gain per tag, and per row the same without that row. Empty when no tags differ."""
    totals: defaultdict[str | None, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        totals[row.tag][0] += row.gain
        totals[row.tag][1] += 1
    if len(totals) < 2:
        return {}, [0.0] * len(rows)
    mean = sum(row.gain for row in rows) / len(rows)
    effects = {tag: _shrunk(total, count, mean) for tag, (total, count) in totals.items()}
    spread = (sum((effects[row.tag] - mean) ** 2 for row in rows) / len(rows)) ** 0.5 or 1.0
    unseen = [(_shrunk(totals[r.tag][0] - r.gain, totals[r.tag][1] - 1, mean) - mean) / spread for r in rows]
    return {tag: (effect - mean) / spread for tag, effect in effects.items() if tag is not None}, unseen


def _shrunk(total: float, count: float, mean: float) -> float:
    return (total + TAG_PRIOR * mean) / (count + TAG_PRIOR)


def _fit_text(np: Any, rows: Sequence[Prepared], buckets: int) -> Fitted:
    """Ridge regression in its dual form (rows are fewer than weights), with exact leave-one-out predictions."""
    named, dense = _standardised(np, rows)
    design = np.hstack([_gram_matrix(np, rows, buckets), NAMED_SCALE * dense])
    gains = np.array([row.gain for row in rows])
    centre, mean = design.mean(axis=0), float(gains.mean())
    design -= centre
    inverse = np.linalg.inv(design @ design.T + RIDGE * np.eye(len(rows)))
    dual = inverse @ (gains - mean)
    unseen = gains - dual / inverse.diagonal()
    weights = design.T @ dual
    linear = _reweighted(named, NAMED_SCALE * weights[buckets:])
    return Fitted(linear, weights[:buckets], mean - float(centre @ weights), unseen)


def _gram_matrix(np: Any, rows: Sequence[Prepared], buckets: int) -> Any:
    matrix = np.zeros((len(rows), buckets))
    for index, row in enumerate(rows):
        matrix[index, list(row.grams)] = (len(row.grams) + 1) ** -0.5
    return matrix


def _standardised(np: Any, rows: Sequence[Prepared]) -> tuple[Linear, Any]:
    raw = np.array([row.text + row.answer for row in rows])
    means, scales = raw.mean(axis=0), np.maximum(raw.std(axis=0), 1e-6)
    names = FEATURES + (ANSWER_FEATURES if rows[0].answer else ())
    linear = Linear(names, tuple(means.tolist()), tuple(scales.tolist()), (0.0,) * len(names))
    return linear, np.clip((raw - means) / scales, -CLIP, CLIP)


def _reweighted(linear: Linear, weights: Any) -> Linear:
    return Linear(linear.names, linear.means, linear.scales, tuple(float(weight) for weight in weights))


def _weighted(linear: Linear, factor: float) -> Linear:
    return _reweighted(linear, [factor * weight for weight in linear.weights])


def _part(linear: Linear, start: int, stop: int) -> Linear:
    def cut(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(f"{value:.6g}") for value in values[start:stop])

    return Linear(linear.names[start:stop], cut(linear.means), cut(linear.scales), cut(linear.weights))


def _grams(weights: Any) -> Grams:
    largest = float(abs(weights).max())
    if largest < 1e-12:
        return Grams(0.0, ())
    unit = largest / 999
    return Grams(float(f"{unit:.6g}"), tuple(round(weight) for weight in (weights / unit).tolist()))


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError as cause:
        raise MissingExtraError("training a router", "router") from cause
    return np
