"""The learned scorer: a table of call sites plus a linear model of the text, in one small JSON file.

Its numbers were fitted by :mod:`costguard_core.routing.learning.training`; every part of the sum is a reason. Scoring
needs nothing but Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import sqrt
from os import PathLike
from pathlib import Path
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.routing.checks.answers import ANSWER_FEATURES, described_answer
from costguard_core.routing.learning.features import FEATURES, described, excerpt, hashed, tokens
from costguard_core.routing.request import Request
from costguard_core.routing.scores import Score, strongest

VERSION = 1  # of the file format
CLIP = 3.0  # standard deviations (a choice): one absurd number (a megabyte, a thousand commas) must not decide alone


@dataclass(frozen=True, slots=True)
class Proof:
    """What cross-validation said on the training rows.

    Attributes:
        rows: how many.
        apgr: average part of the quality gap recovered; .5 is chance.
        low, high: its 95 % interval.
    """

    rows: int
    apgr: float
    low: float
    high: float

    @property
    def better_than_chance(self) -> bool:
        """Whether the whole interval lies above .5."""
        return self.low > 0.5


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(weight * clip((value - mean) / scale))`` over named features. All sequences have the same order.

    Attributes:
        names: of the features.
        means: of their values in the training rows.
        scales: standard deviations of these values.
        weights: of the standardised values.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]

    def parts(self, values: Sequence[float]) -> list[float]:
        """What each feature adds."""
        rows = zip(values, self.means, self.scales, self.weights, strict=True)
        return [weight * max(-CLIP, min(CLIP, (value - mean) / scale)) for value, mean, scale, weight in rows]


@dataclass(frozen=True, slots=True)
class Grams:
    """Weights of hashed word grams.

    Attributes:
        unit: a weight is this times the integer that stands for it.
        weights: one integer for each bucket; their number is a power of two, or 0.
    """

    unit: float
    weights: tuple[int, ...]

    def sum(self, words: Sequence[str]) -> float:
        """What the words of a text add."""
        if not self.weights:
            return 0.0
        found = hashed(words, size=len(self.weights))
        weights = self.weights
        return self.unit * sum([weights[bucket] for bucket in found]) / sqrt(len(found) + 1)


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained scorer. Call it with a request; :meth:`doubt` also reads the cheap model's answer.

    Attributes:
        bias: added to every score.
        tags: what each call site adds.
        text: the model of the named features of the text.
        grams: the model of its words.
        answer: the model of the named features of the cheap answer; ``None``: trained without answers.
        quantiles: of its scores for the training rows: a warm start for the cut, and what drift is measured against.
        proof: what cross-validation said; ``None``: it was not evaluated.
        about: how it was trained, for people.
    """

    bias: float
    tags: Mapping[str, float]
    text: Linear
    grams: Grams
    answer: Linear | None = None
    quantiles: tuple[float, ...] = ()
    proof: Proof | None = None
    about: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, request: Request) -> Score:
        value, parts = self._read(request)
        return Score(value, strongest(parts))

    def doubt(self, request: Request, answer: str) -> Score:
        """The score once the cheap answer is known; that of the request if the training rows had no answers."""
        value, parts = self._read(request)
        if self.answer is None:
            return Score(value, strongest(parts))
        by_answer = self.answer.parts(described_answer(answer))
        return Score(value + sum(by_answer), strongest([*parts, *zip(self.answer.names, by_answer, strict=True)]))

    def _read(self, request: Request) -> tuple[float, list[tuple[str, float]]]:
        """The score of a request and its parts."""
        text = excerpt(request.text)
        words = tokens(text)
        named = self.text.parts(described(text, words, length=len(request.text)))
        wording = self.grams.sum(words)
        tag = 0.0 if request.tag is None else self.tags.get(request.tag, 0.0)
        parts = [(f"tag {request.tag}", tag), ("wording", wording), *zip(self.text.names, named, strict=True)]
        return self.bias + tag + wording + sum(named), parts

    def to_json(self) -> str:
        """The text of the file: a few tens of kilobytes of weights; it holds no words of any prompt."""
        return json.dumps({"costguard_router": VERSION, **asdict(self)}, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Learned:
        """Read what :meth:`to_json` wrote.

        Raises:
            ConfigurationError: it is not a router file, or one of another version or with unknown features.
        """
        try:
            return _parsed(json.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError) as cause:
            raise ConfigurationError(f"not a usable router file ({cause!r}): write one with `train`") from cause

    def save(self, path: str | PathLike[str]) -> None:
        """Write the file that :func:`learned` loads."""
        Path(path).write_text(self.to_json(), encoding="utf-8")


def learned(path: str | PathLike[str], *, unproven: bool = False) -> Learned:
    """Load a trained scorer, if it beat chance in cross-validation.

    Args:
        path: the JSON file that ``Learned.save`` wrote.
        unproven: load it in any case.

    Raises:
        ConfigurationError: the file is unusable, or its 95 % interval contains chance.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the router {str(path)!r} cannot be read: {type(error).__name__}. `costguard router train` writes one"
        ) from error
    scorer = Learned.from_json(text)
    if not unproven:
        require_proof(scorer)
    return scorer


def require_proof(scorer: Learned) -> None:
    """Refuse a scorer that cross-validation did not show to be better than chance.

    Raises:
        ConfigurationError: it was not evaluated, or its 95 % interval contains chance.
    """
    proof = scorer.proof
    if proof is None:
        raise ConfigurationError("this router was never evaluated: evaluate it, or load it with unproven=True")
    if not proof.better_than_chance:
        raise ConfigurationError(
            f"this router is not shown to beat chance: APGR {proof.apgr:.3f}, 95 % interval [{proof.low:.3f}, "
            f"{proof.high:.3f}] on {proof.rows} rows contains 0.5. Collect more paired "
            "rows, or load it with unproven=True"
        )


def _parsed(raw: Any) -> Learned:
    if raw["costguard_router"] != VERSION:
        raise ValueError(f"version {raw['costguard_router']}, expected {VERSION}")
    size = len(raw["grams"]["weights"])
    if size & (size - 1):
        raise ValueError(f"{size} gram weights: not a power of two")
    proof = raw["proof"]
    return Learned(
        bias=float(raw["bias"]),
        tags={str(tag): float(effect) for tag, effect in raw["tags"].items()},
        text=_linear(raw["text"], FEATURES),
        grams=Grams(float(raw["grams"]["unit"]), tuple(map(int, raw["grams"]["weights"]))),
        answer=None if raw["answer"] is None else _linear(raw["answer"], ANSWER_FEATURES),
        quantiles=tuple(map(float, raw["quantiles"])),
        proof=None if proof is None else Proof(**proof),
        about=dict(raw["about"]),
    )


def _linear(raw: Any, known: tuple[str, ...]) -> Linear:
    names = tuple(raw["names"])
    if names != known:
        raise ValueError(f"features {names} are not those of this version")
    return Linear(names, *(tuple(map(float, raw[part])) for part in ("means", "scales", "weights")))
