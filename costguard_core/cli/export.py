"""``costguard export``: the ledger in the format of tools that compare bills."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.arguments import (
    DEFAULT_LEDGER,
    Json,
    LedgerUrl,
    Since,
    Until,
    Where,
    names_and_values,
    read_ledger,
)
from costguard_core.cli.printing import print_result
from costguard_core.types import usd

app = typer.Typer(add_completion=False)


@app.command()
def export(
    *,
    focus: Annotated[Path, typer.Option("--focus", help="Write cost and usage data in FOCUS 1.0 (CSV) to this file.")],
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="What a row tells apart in its Tags, by default endpoint and tenant; repeat it."),
    ] = None,
    since: Since = None,
    until: Until = None,
    where: Where = None,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Write what was spent by day, provider, model, account and tags as FOCUS, which cloud bills come in, too.

    Example: costguard export --focus november.csv --since 2026-11-01
    """
    from costguard_core.reports.focus import TAGS, write_focus

    with read_ledger(db, "guard.report()") as ledger:
        written = write_focus(
            ledger,
            focus,
            since=since,
            until=until,
            where=names_and_values(where, "--where"),
            tags=tuple(tag) if tag else TAGS,
        )
    floor = f", which is a floor: of {written.unknown:,} calls the cost or a part of it is unknown"
    cost = usd(written.cost).normalize()
    print_result(
        {"file": str(focus), "rows": written.rows, "cost_usd": f"{cost:f}", "unknown": written.unknown},
        f"{written.rows:,} rows written, ${cost:,f} in all{floor if written.unknown else ''}.",
        as_json=as_json,
    )
