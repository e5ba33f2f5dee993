"""``costguard export``: the ledger in the format of tools that compare bills."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.arguments import names_and_values, readable_ledger
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
    since: Annotated[str | None, typer.Option(help='From: "24h", "7d", "today", "2026-11-01".')] = None,
    until: Annotated[str | None, typer.Option(help="Up to, in the same words.")] = None,
    where: Annotated[list[str] | None, typer.Option(help="Only calls with name=value; repeat it.")] = None,
    db: Annotated[
        str, typer.Option(envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
    ] = "sqlite:///costguard.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write what was spent by day, provider, model, account and tags as FOCUS, which cloud bills come in, too.

    Example: costguard export --focus november.csv --since 2026-11-01 --until 2026-12-01
    """
    from costguard_core.ledger import open_ledger
    from costguard_core.reports.focus import TAGS, write_focus

    with open_ledger(readable_ledger(db, "guard.report()"), read_only=True) as ledger:
        written = write_focus(
            ledger,
            focus,
            since=since,
            until=until,
            where=names_and_values(where, "--where"),
            tags=tuple(tag) if tag else TAGS,
        )
    floor = f", which is a floor: of {written.unknown:,} calls the cost or a part of it is unknown" * bool(
        written.unknown
    )
    cost = usd(written.cost).normalize()
    print_result(
        {"file": str(focus), "rows": written.rows, "cost_usd": f"{cost:f}", "unknown": written.unknown},
        f"{written.rows:,} rows written, ${cost:,f} in all{floor if written.unknown else ''}.",
        as_json=as_json,
    )
