"""``costguard reconcile``: the ledger against the provider's own record of what it billed."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import DEFAULT_LEDGER, Json, LedgerUrl, names_and_values, read_ledger
from costguard_core.errors import ConfigurationError

app = typer.Typer(add_completion=False)


@app.command()
def reconcile(
    *,
    provider: Annotated[
        list[str] | None, typer.Option(help="openai or anthropic; without it, those whose key is set.")
    ] = None,
    since: Annotated[str | None, typer.Option(help='From the day of: "30d", "2026-11-01".')] = None,
    until: Annotated[str | None, typer.Option(help="Up to that day; without it, up to today.")] = None,
    csv: Annotated[
        list[str] | None, typer.Option(help="An export of the provider's console instead; of costs, of usage, or both.")
    ] = None,
    column: Annotated[list[str] | None, typer.Option(help="What is in which column, such as cost=Amount.")] = None,
    timezone: Annotated[str, typer.Option(help="The time zone of an export's days.")] = "UTC",
    project: Annotated[list[str] | None, typer.Option(help="Only this project of OpenAI.")] = None,
    workspace: Annotated[list[str] | None, typer.Option(help="Only this workspace of Anthropic.")] = None,
    tolerance: Annotated[
        str, typer.Option(help='How much may stay unexplained: "$0.50", or "1%" of the bill. Beyond it, exit 1.')
    ] = "1%",
    base_url: Annotated[
        list[str] | None, typer.Option(help="Another address of an API, such as openai=https://eu.api.openai.com.")
    ] = None,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
) -> None:
    """Compare the ledger with what OpenAI or Anthropic say that they billed, and name each difference.

    Reads the bill with a key of an administrator, from OPENAI_ADMIN_KEY or ANTHROPIC_ADMIN_KEY. Changes nothing.

    Example: costguard reconcile --since 30d --tolerance 1%
    """
    from costguard_core.reports import reconciliation

    if as_json and as_markdown:
        raise ConfigurationError("choose one of --json and --markdown")
    if csv and provider and len(provider) > 1:
        raise ConfigurationError("an export is one provider's: give one --provider")
    allowed = reconciliation.parse_tolerance(tolerance)
    with read_ledger(db, "guard.reconcile()") as ledger:
        found = reconciliation.reconcile(
            ledger,
            provider=provider[0] if provider and len(provider) == 1 else provider,
            since=since,
            until=until,
            csv=csv,
            columns=names_and_values(column, "--column"),
            timezone=timezone,
            projects=project or (),
            workspaces=workspace or (),
            base_urls=names_and_values(base_url, "--base-url"),
        )
    if as_json:
        typer.echo(found.to_json())
    elif as_markdown:
        typer.echo(found.to_markdown(), nl=False)
    else:
        typer.echo(str(found))
    if not found.is_within(allowed):
        typer.echo(f"costguard: more than {allowed} of the bill is unexplained", err=True)
        raise typer.Exit(1)
