"""``costguard ledger``: how large the record of calls is, keep it small, take it elsewhere, bring it up to date."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.cli.arguments import DEFAULT_LEDGER, Json, LedgerUrl, Since, Until, read_ledger, readable_ledger
from costguard_core.cli.printing import print_json, print_result, print_text
from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.ledger.retention import LedgerStats

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="See how large the ledger is, keep it small, take it elsewhere, bring it up to date.",
)


@app.command()
def stats(*, db: LedgerUrl = DEFAULT_LEDGER, as_json: Json = False) -> None:
    """Show how many calls and roll-ups there are, of which time, and the size on the disk.

    Example: costguard ledger stats --db costguard.db
    """

    with read_ledger(db, "guard.ledger.stats()") as ledger:
        found = ledger.stats()
    if as_json:
        print_json(asdict(found))
    else:
        print_text(_in_words(found))


@app.command()
def prune(
    before: Annotated[str, typer.Option(help='Delete single calls before this: "90d", "2026-08-01".')],
    *,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Delete single calls before a day. Reports keep what they add up to, but for those by session and the like.

    Example: costguard ledger prune --before 90d
    """
    from costguard_core.ledger import open_ledger

    url = _existing(db, "guard.ledger.prune(...)")
    with open_ledger(url) as ledger:
        deleted = ledger.prune(before)
        left = ledger.stats()
    text = f"{deleted:,} calls deleted, {left.events:,} are left. costguard ledger vacuum gives back the space."
    print_result({"deleted": deleted, **asdict(left)}, text, as_json=as_json)


@app.command()
def vacuum(*, db: LedgerUrl = DEFAULT_LEDGER, as_json: Json = False) -> None:
    """Give back the space of deleted calls. In SQLite, the application's writer waits meanwhile.

    Example: costguard ledger vacuum
    """
    from costguard_core.ledger import open_ledger

    with open_ledger(_existing(db, "guard.ledger.vacuum()")) as ledger:
        before = ledger.stats().bytes
        ledger.vacuum()
        after = ledger.stats().bytes
    text = f"{_size(before)} before, {_size(after)} now."
    print_result({"bytes_before": before, "bytes": after}, text, as_json=as_json)


@app.command()
def migrate(*, db: LedgerUrl = DEFAULT_LEDGER, as_json: Json = False) -> None:
    """Bring a ledger of an older version up to date, and roll up what is in it. May be interrupted and run again.

    Example: costguard ledger migrate --db costguard.db
    """
    from costguard_core.ledger import open_ledger

    with open_ledger(_existing(db, "guard.ledger.stats()")) as ledger:
        rolled = 0
        while added := ledger.roll_up(few=1):
            rolled += added
            if not as_json:
                typer.echo(f"{ledger.stats().not_rolled:,} calls left", err=True)
        found = ledger.stats()
    print_result(asdict(found), _in_words(found), as_json=as_json)


@app.command()
def export(
    *,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write CSV to this file.")] = None,
    parquet: Annotated[Path | None, typer.Option("--parquet", help='Write Parquet to it (extra "parquet").')] = None,
    since: Since = None,
    until: Until = None,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Write single calls, all columns, to a file: for a warehouse, a notebook, an auditor.

    Example: costguard ledger export --parquet calls.parquet --since 30d
    """
    from costguard_core.ledger.export import write_csv, write_parquet

    if (csv is None) == (parquet is None):
        raise ConfigurationError("choose one of --csv FILE and --parquet FILE")
    with read_ledger(db, "list(guard.ledger.events())") as ledger:
        rows = ledger.export(since=since, until=until)
        if csv is not None:
            written = write_csv(rows, csv)
        else:
            assert parquet is not None
            written = write_parquet(rows, parquet)
    print_result({"written": written, "file": str(csv or parquet)}, f"{written:,} calls written.", as_json=as_json)


@app.command()
def reprice(
    *,
    since: Since = None,
    until: Until = None,
    prices: Annotated[
        Path | None, typer.Option(help="Also these prices: a price file; else those of $COSTGUARD_CONFIG.")
    ] = None,
    estimates: Annotated[bool, typer.Option("--estimates", help="Fill in estimates, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be filled in.")] = False,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Fill in the costs of calls whose price was unknown. Known costs and what budgets counted stay as they are.

    Example: costguard ledger reprice --prices prices.toml --dry-run
    """
    from costguard_core.cli.price_options import price_book
    from costguard_core.ledger import open_ledger
    from costguard_core.types import usd
    from costguard_core.util.amounts import format_amount

    book = price_book(prices)
    with open_ledger(_existing(db, "guard.ledger.reprice(guard.prices)")) as opened:
        found = opened.reprice(book, since=since, until=until, estimates=estimates, dry_run=dry_run)
    data = {
        **{name: value for name, value in found._asdict().items() if name != "nanos"},
        "spend_usd": usd(found.nanos),
        "dry_run": dry_run,
        "by_source": dict(found.by_source),
        "still_unknown": [
            {"provider": provider, "model": model, "calls": calls} for provider, model, calls in found.still_unknown
        ],
    }
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


def _existing(db: str, verb: str) -> str:
    """The URL of a ledger that is there: a typing mistake shall not make an empty one."""
    from costguard_core.ledger.ledger import no_ledger
    from costguard_core.util.urls import SqliteUrl

    url = readable_ledger(db, verb)
    scheme, _, rest = url.partition("://")
    place = SqliteUrl.read(rest) if scheme == "sqlite" else None
    if place is not None and not Path(place.path).expanduser().exists():
        raise no_ledger(place.path)
    return url


def _in_words(found: LedgerStats) -> str:
    lines = [
        found.source,
        f"Calls        {found.events:,}, from {_moment(found.oldest)} to {_moment(found.newest)}",
        f"Roll-ups     {found.rollups:,} rows of {found.groups:,} combinations",
        f"Not rolled up {found.not_rolled:,} calls",
    ]
    if found.pruned_before is not None:
        lines.append(f"Deleted      single calls before {_moment(found.pruned_before)}")
    lines.append(f"Size         {_size(found.bytes)}")
    return "\n".join(lines)


def _moment(moment: float | None) -> str:
    return "–" if moment is None else f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:,.1f} MB"
