"""What ``costguard router`` prints: the quality-cost curve next to its baselines, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from costguard_core.types import usd

if TYPE_CHECKING:
    from costguard_core.routing.learning.evaluation import Evaluation
    from costguard_core.routing.learning.metrics import Interval, Point
    from costguard_core.routing.learning.rows import Row
    from costguard_core.routing.learning.traffic import Traffic

PER = 1000  # calls that dollars are stated for


@dataclass(frozen=True, slots=True)
class Source:
    """Paired rows, and what else is known.

    Attributes:
        rows: the paired rows.
        costs: mean nano-dollars of a weak and of a strong answer; ``None``: unknown.
        traffic: the routed calls of the ledger; ``None``: no ledger was named.
    """

    rows: list[Row]
    costs: tuple[float, float] | None = None
    traffic: Traffic | None = None

    def usd_at(self, share: float) -> float | None:
        """Dollars for a thousand calls when the strong model answers ``share`` (0..1) of them."""
        if self.costs is None:
            return None
        weak, strong = self.costs
        return float(usd(round(PER * (weak + share * (strong - weak)))))


def lines(evaluation: Evaluation, source: Source) -> Iterator[str]:
    """The evaluation for a terminal."""
    how = f"{evaluation.folds}-fold cross-validation" if evaluation.folds else "a trained router"
    priced = source.costs is not None
    yield f"{evaluation.rows:,} paired rows, {how}"
    yield ""
    dollars = f"{f'$/{PER:,}':>11}" if priced else ""
    yield f"{'strong calls':>12}  {'router, with 95 % interval':<28}{'by length':>10}{'at random':>11}{dollars}"
    for point, length, chance in _curves(evaluation, source.rows):
        low, high = point.quality.low, point.quality.high
        quality = f"{point.quality.value:.3f} [{low:.3f}, {high:.3f}]"
        named = {0.0: "  always cheap", 1.0: "  always strong"}.get(point.share, "")
        dollars = f"{source.usd_at(point.share):>11.2f}" if priced else ""
        yield f"{point.share:>11.0%}   {quality:<28}{length.value:>10.3f}{chance:>11.3f}{dollars}{named}"
    yield ""
    yield f"Gap recovered (APGR; 0.5 is chance): {evaluation.apgr}; by length {evaluation.length_apgr:.3f}"
    yield f"95 % of the strong model's quality takes {evaluation.calls_for_95:.0f} % strong calls."
    if evaluation.one_model is not None:
        yield "The cheap model alone is within 1 % of the strong one: use it for everything, and no router."
    if source.traffic is not None:
        yield from _traffic_lines(source.traffic)


def values(evaluation: Evaluation, source: Source) -> dict[str, Any]:
    """The evaluation as plain values."""
    return {
        "rows": evaluation.rows,
        "folds": evaluation.folds,
        "weak": _interval(evaluation.weak),
        "strong": _interval(evaluation.strong),
        "apgr": _interval(evaluation.apgr),
        "length_apgr": round(evaluation.length_apgr, 4),
        "strong_calls_for_95_percent": round(evaluation.calls_for_95, 1),
        "better_than_chance": evaluation.better_than_chance,
        "one_model": evaluation.one_model,
        "curve": [
            {
                "share": point.share,
                "router": _interval(point.quality),
                "length": round(length.value, 4),
                "random": round(chance, 4),
                "usd_per_1000": source.usd_at(point.share),
            }
            for point, length, chance in _curves(evaluation, source.rows)
        ],
        "traffic": None if source.traffic is None else _traffic_values(source.traffic),
    }


def _curves(evaluation: Evaluation, rows: list[Row]) -> Iterator[tuple[Point, Interval, float]]:
    """Each point of the router's curve, and what length and chance reach with as many strong calls."""
    from costguard_core.routing.learning.metrics import points

    lengths = [float(len(row.prompt)) for row in rows]
    by_length = points(lengths, [row.weak for row in rows], [row.strong for row in rows])
    weak, gap = evaluation.weak.value, evaluation.strong.value - evaluation.weak.value
    for point, other in zip(evaluation.curve, by_length, strict=True):
        yield point, other.quality, weak + point.share * gap


def _traffic_lines(found: Traffic) -> Iterator[str]:
    if found.coverage is None:
        yield "The ledger has no routed calls."
        return
    others = ", ".join(f"{site} ({calls:,})" for site, calls in found.others)
    yield f"Of {found.calls:,} routed calls in the ledger, {found.coverage:.0%} are at call sites of these rows." + (
        f" Not among them: {others}." if others else ""
    )
    yield f"Routing saved ${usd(found.saved):,.4f}; second answers for the prompt log cost ${usd(found.shadow):,.4f}."


def _traffic_values(found: Traffic) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "coverage": found.coverage,
        "other_call_sites": dict(found.others),
        "saved_usd": f"{usd(found.saved):f}",
        "shadow_usd": f"{usd(found.shadow):f}",
    }


def _interval(value: Interval) -> dict[str, float]:
    return {name: round(number, 4) for name, number in value._asdict().items()}
