"""``costguard ledger``: look after the record of calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.arguments import readable_ledger
from costguard_core.cli.printing import print_result

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look after the record of calls.")


@app.callback()
def ledger() -> None:
    """A group also while it has one command."""


@app.command()
def reprice(
    *,
    since: Annotated[str | None, typer.Option(help='From: "24h", "7d", "today", "2026-11-01".')] = None,
    until: Annotated[str | None, typer.Option(help="Up to, in the same words.")] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Also these prices: a price file; else those of $COSTGUARD_CONFIG.")
    ] = None,
    estimates: Annotated[bool, typer.Option("--estimates", help="Fill in estimates, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be filled in.")] = False,
    db: Annotated[
        str, typer.Option(envvar="COSTGUARD_DB", help="The ledger: a URL, or the path of a SQLite file.")
    ] = "sqlite:///costguard.db",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fill in the costs of calls whose price was unknown. Known costs and what budgets counted stay as they are.

    Example: costguard ledger reprice --prices prices.toml --dry-run
    """
    from costguard_core.cli.price_options import price_book
    from costguard_core.ledger import open_ledger
    from costguard_core.types import usd
    from costguard_core.util.amounts import format_amount

    book = price_book(prices)
    url = readable_ledger(db, "guard.ledger.reprice(guard.prices)")
    open_ledger(url, read_only=True).close()  # a typing mistake shall not make an empty ledger
    with open_ledger(url) as opened:
        found = opened.reprice(book, since=since, until=until, estimates=estimates, dry_run=dry_run)
    data = {
        **found._asdict(),
        "nanos": None,
        "spend_usd": usd(found.nanos),
        "dry_run": dry_run,
        "by_source": dict(found.by_source),
        "still_unknown": [
            {"provider": provider, "model": model, "calls": calls} for provider, model, calls in found.still_unknown
        ],
    }
    del data["nanos"]
    verb = "would be filled in" if dry_run else "filled in"
    lines = [f"{found.unknown:,} calls without a cost: {found.filled:,} {verb}, {format_amount(found.nanos, 'usd')}"]
    lines += [f"  priced by {source}: {count:,}" for source, count in found.by_source]
    if found.estimates:
        lines.append(f"  {found.estimates:,} have only an estimate: --estimates fills them in, marked")
    lines += [
        f"  still no price: {model} ({provider or 'no provider'}), {count:,} calls"
        for provider, model, count in found.still_unknown
    ]
    print_result(data, "\n".join(lines), as_json=as_json)
