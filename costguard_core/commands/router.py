"""``costguard router``: learn from paired rows which requests need the strong model, and see what that is worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.routing.evaluation import Evaluation
    from costguard_core.routing.metrics import Interval, Point
    from costguard_core.routing.training import Row

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train a router on your own traffic, and measure it before you switch it on.",
    epilog="A row is a question that both models answered, as one line of JSON: prompt, weak and strong (how good each "
    "answer was, 0 to 1) and, if you can, tag (the call site). They come from a file that you write: the ledger "
    "holds no prompts, so nothing can be learned from it.",
)

Rows = Annotated[Path, typer.Argument(metavar="ROWS", help="JSON lines, .gz too: prompt, weak, strong, tag.")]
Folds = Annotated[int, typer.Option(min=2, help="Parts for cross-validation.")]
Seed = Annotated[int, typer.Option(help="Another seed makes other parts.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def train(
    rows: Rows,
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the router.")] = Path("router.json"),
    folds: Folds = 5,
    seed: Seed = 0,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Write it even if it may be no better than chance.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a router, cross-validate it, and write it if it beats chance. Needs numpy (extra "router")."""
    from costguard_core.routing.evaluation import prove

    given = _read(rows)
    scorer, evaluation = prove(given, folds=folds, seed=seed)
    proven = evaluation.better_than_chance
    if proven or unproven:
        scorer.save(output)
    _show(evaluation, given, as_json=as_json, written=str(output) if proven or unproven else None)
    if not proven:
        typer.echo(_not_proven(evaluation, written=unproven), err=True)
        if not unproven:
            raise typer.Exit(1)


@app.command(name="eval")
def evaluate(
    rows: Rows,
    *,
    router: Annotated[
        Path | None, typer.Option("--router", help="Measure this router, on rows that it was not trained on.")
    ] = None,
    folds: Folds = 5,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Print the quality-cost curve, against one model for everything, chance and prompt length."""
    from costguard_core.routing.evaluation import cross_validated, measured_on
    from costguard_core.routing.learned import learned

    given = _read(rows)
    if router is None:
        evaluation = cross_validated(given, folds=folds, seed=seed)
    elif not router.exists():
        raise ConfigurationError(f"there is no router at {str(router)!r}: costguard router train ROWS -o {router}")
    else:
        evaluation = measured_on(learned(router, unproven=True), given)
    _show(evaluation, given, as_json=as_json)
    if not evaluation.better_than_chance:
        typer.echo(_not_proven(evaluation), err=True)
        raise typer.Exit(1)


def _read(path: Path) -> list[Row]:
    from costguard_core.routing.rows import read_rows

    return list(read_rows(path))


def _show(evaluation: Evaluation, rows: Sequence[Row], *, as_json: bool, written: str | None = None) -> None:
    if as_json:
        typer.echo(json.dumps({**_fields(evaluation, rows), "written": written}, indent=2))
        return
    for line in _lines(evaluation, rows):
        typer.echo(line)
    if written is not None:
        typer.echo(f'Written to {written}: TieredRouter(cheap=…, strong=…, score="{written}", share=0.3)')


def _lines(evaluation: Evaluation, rows: Sequence[Row]) -> Iterator[str]:
    how = f"{evaluation.folds}-fold cross-validation" if evaluation.folds else "a trained router"
    yield f"{evaluation.rows:,} paired rows, {how}"
    yield ""
    yield f"{'strong calls':>12}  {'router, with 95 % interval':<28}{'by length':>10}{'at random':>11}"
    for point, length, chance in _curves(evaluation, rows):
        low, high = point.quality.low, point.quality.high
        told = f"{point.quality.value:.3f} [{low:.3f}, {high:.3f}]"
        named = {0.0: "  always cheap", 1.0: "  always strong"}.get(point.share, "")
        yield f"{point.share:>11.0%}   {told:<28}{length.value:>10.3f}{chance:>11.3f}{named}"
    yield ""
    yield f"Gap recovered (APGR; 0.5 is chance): {evaluation.apgr}; by length {evaluation.length_apgr:.3f}"
    yield f"95 % of the strong model's quality takes {evaluation.calls_for_95:.0f} % strong calls."
    if evaluation.one_model is not None:
        yield "The cheap model alone is within 1 % of the strong one: use it for everything, and no router."


def _curves(evaluation: Evaluation, rows: Sequence[Row]) -> Iterator[tuple[Point, Interval, float]]:
    """Each point of the router's curve, and what length and chance reach with as many strong calls."""
    from costguard_core.routing.metrics import points

    lengths = [float(len(row.prompt)) for row in rows]
    by_length = points(lengths, [row.weak for row in rows], [row.strong for row in rows])
    weak, gap = evaluation.weak.value, evaluation.strong.value - evaluation.weak.value
    for point, other in zip(evaluation.curve, by_length, strict=True):
        yield point, other.quality, weak + point.share * gap


def _fields(evaluation: Evaluation, rows: Sequence[Row]) -> dict[str, Any]:
    def interval(value: Interval) -> dict[str, float]:
        return {name: round(number, 4) for name, number in value._asdict().items()}

    return {
        "rows": evaluation.rows,
        "folds": evaluation.folds,
        "weak": interval(evaluation.weak),
        "strong": interval(evaluation.strong),
        "apgr": interval(evaluation.apgr),
        "length_apgr": round(evaluation.length_apgr, 4),
        "strong_calls_for_95_percent": round(evaluation.calls_for_95, 1),
        "better_than_chance": evaluation.better_than_chance,
        "one_model": evaluation.one_model,
        "curve": [
            {
                "share": point.share,
                "router": interval(point.quality),
                "length": round(length.value, 4),
                "random": round(chance, 4),
            }
            for point, length, chance in _curves(evaluation, rows)
        ],
    }


def _not_proven(evaluation: Evaluation, *, written: bool = False) -> str:
    kept = "It was written, and learned() loads it only with unproven=True." if written else "It is not switched on."
    return (
        f"costguard: this router is not shown to beat chance: the interval of {evaluation.apgr} contains 0.5. "
        f"{kept} Collect more paired rows."
    )
