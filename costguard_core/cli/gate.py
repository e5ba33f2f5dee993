"""``costguard gate``: fail a build whose calls got dearer."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.arguments import Json, read_ledger
from costguard_core.cli.printing import print_text
from costguard_core.errors import ConfigurationError

app = typer.Typer(add_completion=False)


@app.command()
def gate(
    head: Annotated[str, typer.Argument(help="The ledger of this run: a URL, or the path of a SQLite file.")],
    base: Annotated[str | None, typer.Argument(help="The ledger of the run to compare with.")] = None,
    *,
    config: Annotated[
        Path | None, typer.Option(envvar="COSTGUARD_CONFIG", help="A policy file with max_cost_per_call.")
    ] = None,
    by: Annotated[str, typer.Option(help="What is compared.")] = "endpoint,template",
    band: Annotated[str, typer.Option(help="How much dearer a call may get: 10% or 0.1.")] = "10%",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown, for a pull request.")] = False,
    as_json: Json = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML to this file.")] = None,
) -> None:
    """Exit 0 when no call got dearer, 1 when one did, 2 when there is nothing to compare.

    Example: costguard gate head.db base.db --markdown
    """
    from costguard_core.policy import load_policy
    from costguard_core.policy.gate import gate as compare

    if markdown and as_json:
        raise ConfigurationError("choose one of --markdown and --json")
    with ExitStack() as stack:
        now, before = (
            None if db is None else stack.enter_context(read_ledger(db, "gate(guard.ledger)")) for db in (head, base)
        )
        assert now is not None
        names = [name.strip() for name in by.split(",") if name.strip()]
        policy = None if config is None else load_policy(config)
        report = compare(now, before, policy=policy, by=names, band=_fraction(band))
    if junit is not None:
        try:
            junit.write_text(report.to_junit(), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"--junit cannot write {str(junit)!r}: {error.strerror}") from error
    if as_json:
        typer.echo(report.to_json())
    else:
        print_text(report.to_markdown().rstrip() if markdown else str(report))
    if not report.passed:
        raise typer.Exit(1)


def _fraction(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ConfigurationError(f"--band {text!r} is not a share, such as 10% or 0.1") from None
