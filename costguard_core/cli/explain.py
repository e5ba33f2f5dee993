"""``costguard explain``: why the bill changed."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import DEFAULT_LEDGER, Json, LedgerUrl, Where, Zone, names_and_values, read_ledger
from costguard_core.cli.price_options import price_book
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def explain(
    *,
    since: Annotated[str | None, typer.Option(help='The period: "yesterday" (default), "7d", "2026-11-01".')] = None,
    until: Annotated[str | None, typer.Option(help="Its end; by default now.")] = None,
    against: Annotated[str | None, typer.Option(help="When the earlier period begins.")] = None,
    where: Where = None,
    timezone: Zone = "UTC",
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Show what volume, lengths, models, prices and caches add to a change of the bill, who carries it, and why.

    Example: costguard explain --since 2026-11-23 --against 2026-11-16
    """
    from costguard_core.reports.explain import explain as explain_bill

    with read_ledger(db, "guard.explain()") as ledger:
        found = explain_bill(
            ledger,
            since=since,
            until=until,
            against=against,
            where=names_and_values(where, "--where"),
            timezone=timezone,
            prices=price_book(None),
        )
    if as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))
