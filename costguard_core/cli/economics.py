"""``costguard economics``: what a sale, a resolved ticket, a document or an active user costs."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import readable_ledger
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def economics(
    name: Annotated[str, typer.Argument(help='What was recorded: "sale", "ticket", …; or "active_user".')],
    *,
    since: Annotated[str | None, typer.Option(help='From: "24h", "7d", "today", "2026-11-01".')] = None,
    until: Annotated[str | None, typer.Option(help="Up to, in the same words.")] = None,
    window: Annotated[str, typer.Option(help="How long before an outcome a call may belong to it.")] = "7d",
    timezone: Annotated[str, typer.Option(help='Whose days: "Europe/Berlin", "local".')] = "UTC",
    db: Annotated[
        str, typer.Option(envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
    ] = "sqlite:///costguard.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what each outcome costs, what it is worth, and what belongs to none.

    Outcomes are recorded by the application: guard.record_outcome("sale", user="u1", value="49.00").
    """
    from costguard_core.ledger import open_ledger
    from costguard_core.reports.economics import unit_economics

    with open_ledger(readable_ledger(db, f"guard.unit_economics({name!r})"), read_only=True) as ledger:
        found = unit_economics(ledger, name, since=since, until=until, window=window, timezone=timezone)
    if as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))
