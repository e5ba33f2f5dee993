"""``costguard report``: what was spent, by whom and on what."""

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
    where: Where = None,
    since: Since = None,
    until: Until = None,
    timezone: Zone = "UTC",
    limit: Annotated[int | None, typer.Option(help="The most rows; the total is of all calls.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(help="spend, saved, calls, tokens, hit_rate, refused, errors, p95 or name."),
    ] = None,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, without the total.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Show calls, hits, refusals, spend and savings from the ledger, without changing it.

    Example: costguard report --by user,model --since 7d --where plan=free
    """
    from costguard_core.reports.queries import make_report

    if as_json + as_csv + as_markdown > 1:
        raise ConfigurationError("choose one of --json, --csv and --markdown")
    with read_ledger(db, "guard.report()") as ledger:
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
