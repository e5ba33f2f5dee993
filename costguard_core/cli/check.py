"""``costguard check``: whether a policy file can be used, and whether its rules are followed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.arguments import Json, read_ledger
from costguard_core.cli.printing import print_json, print_text
from costguard_core.util.text import printable

app = typer.Typer(add_completion=False)


@app.command()
def check(
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The policy file; else $COSTGUARD_CONFIG, else costguard.toml."),
    ] = None,
    *,
    db: Annotated[
        str | None, typer.Option(help="Also check the calls in this ledger: a URL, or the path of a SQLite file.")
    ] = None,
    since: Annotated[str, typer.Option(help="With --db: from when on.")] = "30d",
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the file, for editors.")] = False,
    as_json: Json = False,
) -> None:
    """Check a policy file: exit 0 when it is fine, 1 when rules are not followed, 2 when it cannot be used.

    Example: costguard check costguard.toml --db costguard.db
    """
    from costguard_core.policy import load_policy
    from costguard_core.policy.check import check_policy
    from costguard_core.policy.schema import schema_text

    if schema:
        typer.echo(schema_text(), nl=False)
        return
    policy = load_policy(path)
    if db is None:
        found = check_policy(policy)
    else:
        with read_ledger(db, "check_policy(guard.policy, guard.ledger)") as ledger:
            found = check_policy(policy, ledger, since=since)
    if as_json:
        print_json({"file": str(policy.path), "findings": [finding._asdict() for finding in found]})
    else:
        print_text(f"{policy.path}: {len(policy.budgets)} budgets, {len(policy.endpoints)} endpoints")
        for finding in found:
            print_text(f"  {finding.rule}: {printable(finding.endpoint or '(no endpoint)')}: {finding.text}")
        print_text("fine" if not found else f"{len(found)} to mend")
    if found:
        raise typer.Exit(1)
