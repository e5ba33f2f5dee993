"""``costguard router``: learn from paired rows which requests need the strong model, and see what that is worth."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.cli.arguments import AnyLedgerUrl, Json, read_ledger
from costguard_core.cli.printing import print_text
from costguard_core.cli.router_table import Source, lines, values
from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.routing.learning.evaluation import Evaluation
    from costguard_core.routing.learning.labels import Compare
    from costguard_core.routing.learning.traffic import Traffic
    from costguard_core.routing.shadow.prompt_log import PromptLog

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train a router on your own traffic, and measure it before you switch it on.",
    epilog="A row is a question that both models answered: prompt, weak and strong (how good each answer was, 0 to 1) "
    "and, if you can, tag (the call site). They come from a prompt log, TieredRouter(..., log='prompts.db'), or from a "
    "file of JSON lines that you write: the ledger holds no prompts, so it only says whether the rows fit the traffic.",
)

Rows = Annotated[Path | None, typer.Argument(metavar="[ROWS]", help="JSON lines, .gz too: prompt, weak, strong, tag.")]
Log = Annotated[
    Path | None, typer.Option("--log", envvar="COSTGUARD_PROMPTS", help="The prompt log of a TieredRouter.")
]
Since = Annotated[str | None, typer.Option(help='Calls of the ledger from: "24h", "7d", "2026-11-01".')]
Judge = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="MODULE:FUNCTION",
        help="Judge the answers in the log anew: f(prompt, weak, strong) gives two qualities, 0 to 1, or None.",
    ),
]
Folds = Annotated[int, typer.Option(min=2, help="Parts for cross-validation.")]
Seed = Annotated[int, typer.Option(help="Another seed makes other parts.")]
LogFile = Annotated[Path, typer.Option("--log", envvar="COSTGUARD_PROMPTS", help="The prompt log.")]


@app.command()
def train(
    rows: Rows = None,
    *,
    log: Log = None,
    db: AnyLedgerUrl = None,
    since: Since = None,
    compare: Judge = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the router.")] = Path("router.json"),
    folds: Folds = 5,
    seed: Seed = 0,
    unproven: Annotated[
        bool, typer.Option("--unproven", help="Write it even if it may be no better than chance.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fit a router, cross-validate it, and write it if it beats chance. Needs scikit-learn (extra "router").

    Example: costguard router train --log prompts.db --output router.json
    """
    from costguard_core.routing.learning.evaluation import prove

    source = _source(rows, log, db, since, compare)
    scorer, evaluation = prove(source.rows, folds=folds, seed=seed)
    proven = evaluation.better_than_chance
    if proven or unproven:
        scorer.save(output)
    _show(evaluation, source, as_json=as_json, written=str(output) if proven or unproven else None)
    if not proven:
        print_text(_not_proven(evaluation, written=unproven), error=True)
        if not unproven:
            raise typer.Exit(1)


@app.command(name="eval")
def evaluate(
    rows: Rows = None,
    *,
    log: Log = None,
    db: AnyLedgerUrl = None,
    since: Since = None,
    compare: Judge = None,
    router: Annotated[
        Path | None, typer.Option("--router", help="Measure this router, on rows that it was not trained on.")
    ] = None,
    folds: Folds = 5,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Print the quality-cost curve, against one model for everything, chance and prompt length.

    Example: costguard router eval --log prompts.db
    """
    from costguard_core.routing.learning.evaluation import cross_validated, measured_on
    from costguard_core.routing.learning.scorer import learned

    source = _source(rows, log, db, since, compare)
    if router is None:
        evaluation = cross_validated(source.rows, folds=folds, seed=seed)
    elif not router.exists():
        raise ConfigurationError(f"there is no router at {str(router)!r}: costguard router train ROWS -o {router}")
    else:
        evaluation = measured_on(learned(router, unproven=True), source.rows)
    _show(evaluation, source, as_json=as_json)
    if not evaluation.better_than_chance:
        print_text(_not_proven(evaluation), error=True)
        raise typer.Exit(1)


@app.command(name="rows")
def export(log: LogFile, *, compare: Judge = None) -> None:
    """Print the labelled rows of a prompt log as JSON lines: to look at, to correct, to train from elsewhere.

    Example: costguard router rows --log prompts.db > rows.jsonl
    """
    for row in _existing_log(log).rows(compare=_compare(compare)):
        given = {"prompt": row.prompt, "weak": row.weak, "strong": row.strong, "tag": row.tag}
        typer.echo(json.dumps({name: value for name, value in given.items() if value is not None}))


@app.command()
def forget(
    log: LogFile,
    *,
    user: Annotated[str | None, typer.Option(help="Whose questions to erase.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of which tenant.")] = None,
    session: Annotated[str | None, typer.Option(help="Of which session.")] = None,
) -> None:
    """Erase from a prompt log what a user, a tenant or a session asked. A router trained before keeps its weights.

    Example: costguard router forget --log prompts.db --user u1
    """
    erased = _existing_log(log).forget(user=user, tenant=tenant, session=session)
    print_text(f"{erased} erased.")


def _source(rows: Path | None, log: Path | None, db: str | None, since: str | None, compare: str | None) -> Source:
    from costguard_core.routing.learning.rows import read_rows

    if rows is None and log is None:
        raise ConfigurationError(
            "nothing to learn from: name a file of rows, or --log, the prompt log of a TieredRouter(..., log=…). "
            "The ledger holds no prompts"
        )
    found = [] if rows is None else list(read_rows(rows))
    costs = None
    if log is not None:
        prompt_log = _existing_log(log)
        found += prompt_log.rows(compare=_compare(compare))
        costs = _costs(prompt_log)
    tags = {row.tag for row in found}
    return Source(found, costs if rows is None else None, None if db is None else _traffic(db, tags, since))


def _costs(log: PromptLog) -> tuple[float, float] | None:
    """Mean nano-dollars of a weak and a strong answer to the same questions, if they are known."""
    paid = [(pair.weak_cost, pair.strong_cost) for pair, _ in log.pairs()]
    known = [(weak, strong) for weak, strong in paid if weak is not None and strong is not None]
    return (fmean(weak for weak, _ in known), fmean(strong for _, strong in known)) if known else None


def _traffic(db: str, tags: set[str | None], since: str | None) -> Traffic:
    from costguard_core.routing.learning.traffic import traffic

    with read_ledger(db, "guard.report()") as ledger:
        return traffic(ledger, tags, since=since)


def _existing_log(path: Path) -> PromptLog:
    from costguard_core.routing.shadow.prompt_log import PromptLog

    if not path.exists():
        raise ConfigurationError(f"there is no prompt log at {str(path)!r}: TieredRouter(..., log={str(path)!r})")
    if not PromptLog.is_at(path):
        raise ConfigurationError(f"{str(path)!r} is not a prompt log")
    return PromptLog(path)


def _compare(named: str | None) -> Compare | None:
    """The function that ``--compare module:function`` names."""
    if named is None:
        return None
    module, _, name = named.partition(":")
    try:
        found: Compare = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"--compare {named}: {error}. Write module:function") from error
    return found


def _show(evaluation: Evaluation, source: Source, *, as_json: bool, written: str | None = None) -> None:
    if as_json:
        typer.echo(json.dumps({**values(evaluation, source), "written": written}, indent=2))
        return
    for line in lines(evaluation, source):
        print_text(line)
    if written is not None:
        print_text(f'Written to {written}: TieredRouter(cheap=…, strong=…, score="{written}", share=0.3)')


def _not_proven(evaluation: Evaluation, *, written: bool = False) -> str:
    kept = "It was written, and learned() loads it only with unproven=True." if written else "It is not switched on."
    return (
        f"costguard: this router is not shown to beat chance: the interval of {evaluation.apgr} contains 0.5. "
        f"{kept} Collect more paired rows."
    )
