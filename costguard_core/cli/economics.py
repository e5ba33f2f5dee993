"""``costguard economics``: what a sale, a resolved ticket, a document or an active user costs."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import (
    DEFAULT_LEDGER,
    Json,
    LedgerUrl,
    Since,
    Until,
    Where,
    Zone,
    names_and_values,
    read_ledger,
)
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def economics(
    name: Annotated[str, typer.Argument(help='What was recorded: "sale", "ticket", …; or "active_user".')],
    *,
    since: Since = None,
    until: Until = None,
    window: Annotated[str, typer.Option(help="How long before an outcome a call may belong to it.")] = "7d",
    where: Where = None,
    timezone: Zone = "UTC",
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Show what each outcome costs, what it is worth, and what belongs to none.

    Outcomes are recorded by the application: guard.record_outcome("sale", user="u1", value="49.00").

    Example: costguard economics sale --since 30d
    """
    from costguard_core.reports.economics import unit_economics

    with read_ledger(db, f"guard.unit_economics({name!r})") as ledger:
        found = unit_economics(
            ledger,
            name,
            since=since,
            until=until,
            window=window,
            where=names_and_values(where, "--where"),
            timezone=timezone,
        )
    if as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))
