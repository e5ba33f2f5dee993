"""``costguard forecast``: what the month will cost."""

from __future__ import annotations

import typer

from costguard_core.cli.arguments import DEFAULT_LEDGER, Json, LedgerUrl, Zone, read_ledger
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def forecast(
    *,
    timezone: Zone = "UTC",
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Show what this month will cost, with an interval, and what costs far more than it usually does.

    Example: costguard forecast --timezone Europe/Berlin
    """
    from costguard_core.reports.forecast import forecast as forecast_month

    with read_ledger(db, "guard.forecast()") as ledger:
        found = forecast_month(ledger, timezone=timezone)
    if as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))
