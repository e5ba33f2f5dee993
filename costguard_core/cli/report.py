"""``costguard report``: what was spent, by whom and on what."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import names_and_values, readable_ledger
from costguard_core.errors import ConfigurationError

app = typer.Typer(add_completion=False)


@app.command()
def report(
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(
            help="Group by user, tenant, session, endpoint, model, …, hour, day, week, month, a tag; also user,model."
        ),
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="Only calls with this, such as plan=free.")] = None,
    since: Annotated[str | None, typer.Option(help='From: "24h", "7d", "today", "2026-11-01".')] = None,
    until: Annotated[str | None, typer.Option(help="Up to, in the same words.")] = None,
    timezone: Annotated[str, typer.Option(help='Whose days: "Europe/Berlin", "local".')] = "UTC",
    limit: Annotated[int | None, typer.Option(help="The most rows; the total is of all calls.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="spend, saved, calls, tokens, hit_rate, refused, errors, p95 or name."),
    ] = None,
    db: Annotated[
        str, typer.Option(envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
    ] = "sqlite:///costguard.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, without the total.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Show calls, hits, refusals, spend and savings from the ledger, without changing it."""
    from costguard_core.ledger import open_ledger
    from costguard_core.reports.queries import make_report

    if as_json + as_csv + as_markdown > 1:
        raise ConfigurationError("choose one of --json, --csv and --markdown")
    with open_ledger(readable_ledger(db, "guard.report()"), read_only=True) as ledger:
        found = make_report(
            ledger,
            by or ("model",),
            since=since,
            until=until,
            where=names_and_values(where, "--where"),
            timezone=timezone,
            limit=limit,
            sort=sort,
        )
    if as_json:
        typer.echo(found.to_json())
    elif as_csv:
        typer.echo(found.to_csv(), nl=False)
    elif as_markdown:
        typer.echo(found.to_markdown(), nl=False)
    else:
        from costguard_core.reports.display import show

        show(found)
