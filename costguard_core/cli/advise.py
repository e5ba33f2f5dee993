"""``costguard advise``: what to change so that the bill falls."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.cli.arguments import readable_ledger
from costguard_core.cli.printing import print_json, print_text
from costguard_core.util.options import check_choice

if TYPE_CHECKING:
    from pathlib import Path

    from costguard_core.advice import Advice, Edit

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
    apply: Annotated[bool, typer.Option("--apply", help="Write the lines into the policy file; a diff first.")] = False,
    review: Annotated[bool, typer.Option("--review", help="Say what lines written earlier have saved.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Write only findings of this kind. Repeatable.")] = None,
    confidence: Annotated[str, typer.Option(help="How sure: high, medium or low.")] = "high",
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what to change, the dearest first: each with the rows that show it, what it saves, and the lines to write.

    --apply writes the lines of high confidence into the policy file, with evidence and date as comments. --review says
    what they have saved since, and with --apply takes back those that did not.

    Example: costguard advise --since 30d
    """
    check_choice("--confidence", confidence, ("high", "medium", "low"))
    if review:
        _review(db, policy, apply=apply, yes=yes, as_json=as_json)
        return
    from costguard_core.advice import advise as look
    from costguard_core.ledger import open_ledger
    from costguard_core.policy import load_policy
    from costguard_core.routing.shadow.prompt_log import PromptLog

    budgets = load_policy(policy).budgets if policy else ()
    pairs = PromptLog(log).pairs() if log else ()
    with open_ledger(readable_ledger(db, "advise(guard.ledger)"), read_only=True) as ledger:
        found = look(ledger, since=since, until=until, budgets=budgets, pairs=pairs)
    if apply:
        _apply(found, policy, only or [], confidence, yes=yes)
    elif as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))


def _apply(found: Advice, policy: str | None, only: list[str], confidence: str, *, yes: bool) -> None:
    from costguard_core.advice.apply import apply, choose
    from costguard_core.policy.policy import find_policy

    path = find_policy(policy)
    chosen = choose(found, only=only, confidence=confidence)
    edit = apply(path.read_text("utf-8"), found, chosen, date=f"{datetime.now(UTC):%Y-%m-%d}")
    for line, why in edit.skipped:
        print_text(f"not written: {line}: {why}", error=True)
    for finding in found:
        if finding in chosen and not finding.lines:
            print_text(f"not a setting: {finding.label}: {finding.code}", error=True)
    _write(edit, path, yes=yes)


def _review(db: str, policy: str | None, *, apply: bool, yes: bool, as_json: bool) -> None:
    from costguard_core.advice.apply import removed
    from costguard_core.advice.review import review
    from costguard_core.ledger import open_ledger
    from costguard_core.policy.policy import find_policy

    path = find_policy(policy)
    text = path.read_text("utf-8")
    with open_ledger(readable_ledger(db, "review(guard.ledger, text)"), read_only=True) as ledger:
        found = review(ledger, text)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    print_text("\n".join(map(str, found)) or "The policy file has no line that was advised.")
    back = [(line.first, line.last) for each in found if each.verdict == "does not save" for line in each.lines]
    if back:
        edit = removed(text, back)
        if apply:
            _write(edit, path, yes=yes)
        else:
            print_text(f"\nTo take back (costguard advise --review --apply):\n{edit.diff(path.name)}")


def _write(edit: Edit, path: Path, *, yes: bool) -> None:
    """Show the change, ask, and write it."""
    from costguard_core.advice.apply import write_file
    from costguard_core.policy import parse_policy

    if not edit.written:
        print_text("Nothing to write.")
        return
    parse_policy(edit.after, path=path)  # it must still be a policy
    print_text(edit.diff(path.name))
    if yes or typer.confirm(f"Write this into {path.name}?"):
        write_file(path, edit.after)
        print_text(f"{path.name}: {len(edit.written)} lines changed. Running processes follow within seconds.")
