"""``costguard forecast``: what the month will cost."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import readable_ledger
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def forecast(
    *,
    timezone: Annotated[str, typer.Option(help='Whose month and days: "Europe/Berlin", "local".')] = "UTC",
    db: Annotated[
        str, typer.Option(envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
    ] = "sqlite:///costguard.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what this month will cost, with an interval, and what costs far more than it usually does."""
    from costguard_core.ledger import open_ledger
    from costguard_core.reports.forecast import forecast as forecast_month

    with open_ledger(readable_ledger(db, "guard.forecast()"), read_only=True) as ledger:
        found = forecast_month(ledger, timezone=timezone)
    if as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))
