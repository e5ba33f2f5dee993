"""Fits the learned scorer to paired rows: what did the strong model's answer add over the weak one's?

The label is the quality of the strong answer minus that of the weak one. Labels that only say where the cheap model
failed teach far less (measured on MMLU with 2,000 rows: .596 APGR instead of .645), because much of what it fails the
strong model fails too. Needs scikit-learn (extra ``router``), which is imported here and nowhere at decision time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.routing.checks.answers import ANSWER_FEATURES, described_answer
from costguard_core.routing.learning.features import FEATURES, described, excerpt, hashed, tokens
from costguard_core.routing.learning.rows import Row
from costguard_core.routing.learning.scorer import CLIP, Grams, Learned, Linear

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

# Choices; benchmarks/routing.py measures what they give on MMLU and on fourteen tasks.
BUCKETS = 8192  # word grams are hashed into this many weights
RIDGE = 16.0  # penalty on weights: as if each had been seen 16 times doing nothing
NAMED_SCALE = 0.1  # a standardised named feature against a word gram: all of them together weigh about half a text
TAG_PRIOR = 8.0  # a call site starts as 8 rows of the overall mean
TEXT_SHARE = 0.5  # of the text against the call site with many rows, both in standard deviations
TEXT_ROWS = 300  # with so many it is half of that: text needs more rows than a table of call sites

MAX_TEXT_ROWS = 4000  # the newest; the time of a fit grows with their third power (4,000: 14 s on one core)
QUANTILES = 101  # percentiles of the scores, from the lowest to the highest
MIN_ROWS = 20  # to learn from (a choice; 200 are better)
_LARGEST = 999  # the largest integer that stands for a weight: three digits keep the file small


class Prepared(NamedTuple):
    """The numbers of one row.

    Attributes:
        grams: buckets of its word grams.
        text: named features of its prompt.
        answer: named features of the weak model's answer; empty: they are not learned from.
        tag: its call site.
        gain: quality of the strong answer minus that of the weak one.
    """

    grams: frozenset[int]
    text: tuple[float, ...]
    answer: tuple[float, ...]
    tag: str | None
    gain: float


@dataclass(frozen=True, slots=True)
class TextModel:
    """A linear model of the text.

    Attributes:
        named: of the named features.
        grams: one weight for each bucket of word grams.
        bias: added to both.
        unseen: for each row, what a model fitted to all others says of it.
    """

    named: Linear
    grams: Vector
    bias: float
    unseen: Vector


def train(rows: Iterable[Row], *, buckets: int = BUCKETS) -> Learned:
    """Fit a scorer. It carries no proof yet: see :func:`costguard_core.routing.learning.evaluation.prove`.

    Args:
        rows: paired rows, oldest first. If each has an ``answer``, the scorer also learns to doubt answers.
        buckets: how many gram weights; a power of two.

    Raises:
        ConfigurationError: fewer than 20 rows.
        MissingExtraError: scikit-learn is not installed.
    """
    known = list(rows)
    with_answers = all(row.answer is not None for row in known)
    return fit([prepared(row, buckets=buckets, answers=with_answers) for row in known], buckets=buckets)


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
    """Fit a scorer to prepared rows (see :func:`train`).

    Call sites and text are each brought to a standard deviation of 1 before they are added up.
    """
    if len(rows) < MIN_ROWS:
        raise ConfigurationError(
            f"{len(rows)} paired rows are too few to learn from: collect at least {MIN_ROWS}, better 200"
        )
    _require_extra()
    import numpy as np

    recent = rows[-MAX_TEXT_ROWS:]
    text = _fit_text(recent, buckets)
    tags, tags_unseen = _tag_table(rows)
    spread = _text_share(rows, tags) / max(float(text.unseen.std()), 1e-9)
    scores = spread * (text.unseen - text.unseen.mean()) + np.array(tags_unseen[-len(recent) :])
    named = _scaled(text.named, spread)
    return Learned(
        bias=spread * (text.bias - float(text.unseen.mean())),
        tags={tag: round(effect, 4) for tag, effect in sorted(tags.items())},
        text=_slice(named, 0, len(FEATURES)),
        grams=_grams(spread * text.grams),
        answer=_slice(named, len(FEATURES), len(named.names)) if rows[0].answer else None,
        quantiles=tuple(round(float(q), 4) for q in np.quantile(scores, np.linspace(0, 1, QUANTILES))),
        about={"rows": len(rows), "call_sites": len(tags)},
    )


def _require_extra() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as cause:
        raise MissingExtraError("training a router", "router") from cause


def _text_share(rows: Sequence[Prepared], tags: Mapping[str, float]) -> float:
    """The standard deviation of the text's part of a score; that of the call site's part is 1."""
    if not tags:
        return 1.0
    # An answer that was checked says more about itself than the call site does.
    if rows[0].answer:
        return 1.0
    return TEXT_SHARE * len(rows) / (len(rows) + TEXT_ROWS)


def _tag_table(rows: Sequence[Prepared]) -> tuple[dict[str, float], list[float]]:
    """The mean gain of each call site, shrunk to that of all and standardised; and for each row the same of the others
    there. Empty when there is one call site only.
    """
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
    """A mean of ``count`` values, with :data:`TAG_PRIOR` more of the value ``mean``."""
    return (total + TAG_PRIOR * mean) / (count + TAG_PRIOR)


def _fit_text(rows: Sequence[Prepared], buckets: int) -> TextModel:
    """Ridge regression of the gain on word grams and named features, with exact leave-one-out predictions."""
    import numpy as np
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    standardised = scaler.fit_transform(np.array([row.text + row.answer for row in rows]))
    starts = np.cumsum([0, *(len(row.grams) for row in rows)])
    columns = np.concatenate([np.fromiter(row.grams, dtype=np.int64) for row in rows])
    weights = np.concatenate([np.full(len(row.grams), (len(row.grams) + 1) ** -0.5) for row in rows])
    grams = csr_matrix((weights, columns, starts), shape=(len(rows), buckets))
    design = hstack([grams, csr_matrix(NAMED_SCALE * np.clip(standardised, -CLIP, CLIP))]).tocsr()
    ridge = RidgeCV(alphas=[RIDGE], scoring="neg_mean_squared_error", store_cv_results=True)
    ridge.fit(design, np.array([row.gain for row in rows]))
    named = Linear(
        FEATURES + (ANSWER_FEATURES if rows[0].answer else ()),
        tuple(scaler.mean_.tolist()),
        tuple(scaler.scale_.tolist()),
        tuple((NAMED_SCALE * ridge.coef_[buckets:]).tolist()),
    )
    return TextModel(named, ridge.coef_[:buckets], float(ridge.intercept_), ridge.cv_results_[:, 0])


def _scaled(linear: Linear, factor: float) -> Linear:
    return replace(linear, weights=tuple(factor * weight for weight in linear.weights))


def _slice(linear: Linear, start: int, stop: int) -> Linear:
    """Some of the features, with six digits each."""

    def part(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(f"{value:.6g}") for value in values[start:stop])

    return Linear(linear.names[start:stop], part(linear.means), part(linear.scales), part(linear.weights))


def _grams(weights: Vector) -> Grams:
    """Weights as small integers."""
    largest = float(abs(weights).max())
    if largest < 1e-12:
        return Grams(0.0, ())
    unit = largest / _LARGEST
    return Grams(float(f"{unit:.6g}"), tuple(round(weight) for weight in (weights / unit).tolist()))
