"""``costguard advise``: what to change so that the bill falls."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.cli.arguments import DEFAULT_LEDGER, Json, LedgerUrl, Until, read_ledger
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
    until: Until = None,
    db: LedgerUrl = DEFAULT_LEDGER,
    policy: Annotated[
        str | None,
        typer.Option(envvar="COSTGUARD_CONFIG", help="The policy file: prices, and budgets that never bind."),
    ] = None,
    log: Annotated[str | None, typer.Option(help="A prompt log, for questions that a cheaper model answers.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write the lines into the policy file; a diff first.")] = False,
    review: Annotated[bool, typer.Option("--review", help="Say what lines written earlier have saved.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Write only findings of this kind. Repeatable.")] = None,
    confidence: Annotated[str, typer.Option(help="How sure: high, medium or low.")] = "high",
    yes: Annotated[bool, typer.Option("--yes", help="Write without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Say what to change, the dearest first: each with the rows that show it, what it saves, and the lines to write.

    --apply writes the lines of high confidence into the policy file, with evidence and date as comments. --review says
    what they have saved since, and with --apply takes back those that did not.

    Example: costguard advise --since 30d
    """
    from costguard_core.advice import advise as look
    from costguard_core.advice.apply import CONFIDENCES

    check_choice("--confidence", confidence, CONFIDENCES)
    if review:
        _review(db, policy, apply=apply, yes=yes, as_json=as_json)
        return
    from costguard_core.policy import load_policy
    from costguard_core.pricing.price_file import book_of
    from costguard_core.routing.shadow.prompt_log import PromptLog

    rules = load_policy(policy) if policy else None
    pairs = PromptLog(log).pairs() if log else ()
    with read_ledger(db, "advise(guard.ledger)") as ledger:
        found = look(
            ledger,
            since=since,
            until=until,
            prices=None if rules is None else book_of(rules.options),
            budgets=() if rules is None else rules.budgets,
            pairs=pairs,
        )
    if apply:
        _apply(found, policy, only or [], confidence, yes=yes)
    elif as_json:
        typer.echo(found.to_json())
    else:
        print_text(str(found))


def _apply(found: Advice, policy: str | None, only: list[str], confidence: str, *, yes: bool) -> None:
    from costguard_core.advice.apply import apply, choose, read_file
    from costguard_core.policy.policy import find_policy

    path = find_policy(policy)
    chosen = choose(found, only=only, confidence=confidence)
    edit = apply(read_file(path), found, chosen, date=f"{datetime.now(UTC):%Y-%m-%d}")
    for line, why in edit.skipped:
        print_text(f"not written: {line}: {why}", error=True)
    for finding in found:
        if finding in chosen and not finding.lines:
            print_text(f"not a setting: {finding.label}: {finding.code}", error=True)
    _write(edit, path, yes=yes)


def _review(db: str, policy: str | None, *, apply: bool, yes: bool, as_json: bool) -> None:
    from costguard_core.advice.apply import read_file, removed
    from costguard_core.advice.review import review
    from costguard_core.policy.policy import find_policy

    path = find_policy(policy)
    text = read_file(path)
    with read_ledger(db, "review(guard.ledger, text)") as ledger:
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
