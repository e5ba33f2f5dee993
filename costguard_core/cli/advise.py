"""``costguard advise``: what to change so that the bill falls."""

from __future__ import annotations

from typing import Annotated

import typer

from costguard_core.cli.arguments import readable_ledger
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def advise(
    *,
    since: Annotated[str, typer.Option(help='How far to look back: "30d", "7d", "2026-11-01".')] = "30d",
    until: Annotated[str | None, typer.Option(help="The end; by default now.")] = None,
    db: Annotated[
        str, typer.Option(envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
    ] = "sqlite:///costguard.db",
    policy: Annotated[
        str | None, typer.Option(envvar="COSTGUARD_CONFIG", help="The policy file, for budgets that never bind.")
    ] = None,
    log: Annotated[str | None, typer.Option(help="A prompt log, for questions that a cheaper model answers.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what to change, the dearest first: each with the rows that show it, what it saves, and the lines to write."""
    from costguard_core.advice import advise as look
    from costguard_core.ledger import open_ledger
    from costguard_core.policy import load_policy
    from costguard_core.routing.shadow.prompt_log import PromptLog

    budgets = load_policy(policy).budgets if policy else ()
    pairs = PromptLog(log).pairs() if log else ()
    with open_ledger(readable_ledger(db, "advise(guard.ledger)"), read_only=True) as ledger:
        found = look(ledger, since=since, until=until, budgets=budgets, pairs=pairs)
    if as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))
