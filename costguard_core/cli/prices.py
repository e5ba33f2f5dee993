"""``costguard prices``: what a model costs and who says so, how old the lists are, and prices of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.cli.arguments import DEFAULT_LEDGER, Json, LedgerUrl, Since, Until, read_ledger
from costguard_core.cli.printing import print_json, print_result, print_text
from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.pricing import PriceBook
    from costguard_core.pricing.catalog import ListAge
    from costguard_core.pricing.explanation import PriceExplanation, PriceLine
    from costguard_core.reports.unpriced import UnpricedModel

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="What a model costs and who says so, how old the lists are, and prices of one's own.",
)

Prices = Annotated[Path | None, typer.Option(help="Declared prices: a price file; else those of $COSTGUARD_CONFIG.")]

_MOST_SHOWN = 20


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="As the application asks for it, such as gpt-4o or azure/eu/gpt-4o.")],
    *,
    provider: Annotated[str | None, typer.Option(help="Who sells it, such as openai or amazon_bedrock.")] = None,
    at: Annotated[str | None, typer.Option(help='When: "2026-11-01", "30d" (ago); else now.')] = None,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """Show every price of a model, whose list it is from and of which day. Exit 1 if there is none.

    Example: costguard prices show gpt-4o-mini --provider azure
    """
    from costguard_core.cli.price_options import price_book
    from costguard_core.pricing.explanation import explain_price
    from costguard_core.util.timeparse import resolve

    if not model.strip():
        raise typer.BadParameter("write the name of a model, such as gpt-4o", param_hint="MODEL")
    now = time()
    book = price_book(prices)
    found = explain_price(book, model, provider, resolve(at, now=now) or now)
    if as_json:
        print_json({**_explained(found, book), "lists": [_aged(age, now) for age in book.ages()]})
    else:
        print_text("\n".join(_shown(found, book)))
    if found.priced_by is None:
        raise typer.Exit(1)


@app.command()
def age(
    *,
    max_age: Annotated[int | None, typer.Option(help="Exit 1 if a list is older than this many days.")] = None,
    as_json: Json = False,
) -> None:
    """Show how old the price lists are, as far as they say so.

    Example: costguard prices age --max-age 60
    """
    from costguard_core.pricing import PriceBook

    now = time()
    ages = [_aged(one, now) for one in PriceBook().ages()]
    lines = []
    for one in ages:
        if one["taken"] is not None:
            lines.append(f"{one['source']}: of {one['taken']}, {_days(one['days'])} old, {one['models']:,} models")
        else:
            lines.append(
                f"{one['source']}: it does not say of which day it is; the newest price in it began on {one['newest']},"
                f" so it is at most {_days(one['days'])} old, {one['models']:,} models"
            )
    lines.append("newer ones: costguard prices update; pip install -U genai-prices langchain-costguard")
    print_result({"lists": ages}, "\n".join(lines), as_json=as_json)
    if max_age is not None and any(one["days"] is None or one["days"] > max_age for one in ages):
        raise typer.Exit(1)


@app.command()
def check(
    *,
    since: Since = None,
    until: Until = None,
    prices: Prices = None,
    db: LedgerUrl = DEFAULT_LEDGER,
    as_json: Json = False,
) -> None:
    """Show the models of a ledger that have no price, a guessed one, or parts without a price. Exit 1 if there are any.

    Example: costguard prices check --db costguard.db --since 7d
    """
    from costguard_core.cli.price_options import price_book
    from costguard_core.reports.unpriced import unpriced_models

    with read_ledger(db, "unpriced_models(guard.ledger)") as ledger:
        found = unpriced_models(ledger, since=since, until=until)
    book = price_book(prices)
    rows = [{**one._asdict(), "now": _price_now(book, one)} for one in found]
    lines = [_checked(one, row["now"]) for one, row in zip(found, rows, strict=True)]
    if any(
        one.fault == "no price" and row["now"] in ("declared", "list") for one, row in zip(found, rows, strict=True)
    ):
        lines.append("prices that are known by now are filled in by: costguard ledger reprice")
    print_result(
        {"models": rows}, "\n".join(lines) or "every call has a price that somebody stands for", as_json=as_json
    )
    if found:
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="LiteLLM's table (.json), a spreadsheet (.csv), a price file (.toml).")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write here instead of printing.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only the models of this seller.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Take prices that look a thousand times off.")] = False,
    as_json: Json = False,
) -> None:
    """Turn prices from another file into a price file, for CostGuard(prices="prices.toml").

    Example: costguard prices import contract.csv -o prices.toml
    """
    from costguard_core.pricing import PriceBook
    from costguard_core.pricing.plausible import doubtful
    from costguard_core.pricing.price_file import write_price_file
    from costguard_core.pricing.price_import import import_prices

    found = import_prices(file, provider=provider, today=datetime.now(UTC).date())
    doubts = [] if force else list(doubtful(found.prices, PriceBook()))
    if doubts:
        more = [f"… {len(doubts) - _MOST_SHOWN:,} more"] if len(doubts) > _MOST_SHOWN else []
        advice = "prices of tokens are in dollars per million; if they are right: --force"
        raise ConfigurationError("\n".join([*doubts[:_MOST_SHOWN], *more, advice]))
    if output is not None:
        try:
            output.write_text(write_price_file(found), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot write {str(output)!r}: {error}") from None
    if as_json:
        print_json({"models": len(found.prices), "output": output, "prices": found.prices if output is None else None})
    elif output is None:
        typer.echo(write_price_file(found), nl=False)
    else:
        print_text(f'{len(found.prices):,} models in {output}: use them with CostGuard(prices="{output}")')


@app.command()
def update(
    *,
    url: Annotated[str | None, typer.Option(help="Where genai-prices' newest list is; else where it says.")] = None,
    as_json: Json = False,
) -> None:
    """Ask genai-prices for its newest list, and show which prices differ from the installed. Changes nothing.

    Example: costguard prices update
    """
    from costguard_core.pricing.list_updates import fetch_changes, published_url

    asked = url or published_url()
    changes = fetch_changes(asked, datetime.now(UTC))
    lines = [f"{len(changes):,} models have another price in {asked}"]
    for seller, model, before, after in changes[:_MOST_SHOWN]:
        lines.append(f"  {seller}/{model}: {_changed(before, after)}")
    if len(changes) > _MOST_SHOWN:
        lines.append(f"  … {len(changes) - _MOST_SHOWN:,} more: --json shows all")
    lines += [
        "to use them: pip install -U genai-prices, and restart; or, in the application, once:",
        "  from genai_prices import UpdatePrices; UpdatePrices().start()  # fetches them every hour, CostGuard follows",
    ]
    print_result({"url": asked, "changes": [one._asdict() for one in changes]}, "\n".join(lines), as_json=as_json)


def _explained(found: PriceExplanation, book: PriceBook) -> dict[str, Any]:
    lines = [{**line._asdict(), "sources": dict(line.sources)} for line in found.lines]
    times = {name: _day(value) for name, value in (("since", found.since), ("until", found.until), ("at", found.at))}
    similar = book.similar_names(found.model, found.provider) if found.priced_by is None else []
    return {**found._asdict(), **times, "lines": lines, "similar": similar}


def _shown(found: PriceExplanation, book: PriceBook) -> Iterator[str]:
    who = f"{found.model} at {found.provider}" if found.provider else found.model
    if found.priced_by is None:
        declared = f'{{"{found.model}": {{"input": "2.50", "output": "10"}}}}'
        yield f"{who}: no price is known. Declare one, in dollars per million tokens: CostGuard(prices={declared})"
        if near := book.similar_names(found.model, found.provider):
            yield f"names that look like it: {', '.join(near)}"
        return
    dated = {age.source: age.taken for age in book.ages()}
    yield f"{who}, {_day(found.at)}: {found.priced_by}" + (f", {found.source}" if found.source else "")
    if found.reason is not None:
        yield f"an estimate: {found.reason}"
    if (since := _day(found.since)) is not None:
        until = _day(found.until)
        yield f"the same, as far as the lists say, since {since}" + (f" until {until}" if until else "")
    heading: tuple[str | None, int] | None = None
    for line in found.lines:
        if heading != (line.tier, line.above):
            heading = (line.tier, line.above)
            above = f", prompts of more than {line.above:,} tokens" if line.above else ""
            yield f"{line.tier or 'standard'}{above}:"
        yield _line(line, dated)


def _line(line: PriceLine, dated: dict[str, date | None]) -> str:
    unit = "per million" if line.per > 1 else "each"
    said = ", ".join(f"{source} ({dated.get(source) or 'no date'}): ${dollars:f}" for source, dollars in line.sources)
    price = f"${line.dollars:f} {unit}"
    return f"  {line.key:20} {price:22} {said}{'  they differ' if line.differs else ''}".rstrip()


def _aged(age: ListAge, now: float) -> dict[str, Any]:
    day = age.taken or age.newest
    days = None if day is None else (datetime.fromtimestamp(now, UTC).date() - day).days
    return {"source": age.source, "taken": age.taken, "newest": age.newest, "days": days, "models": age.models}


def _price_now(book: PriceBook, one: UnpricedModel) -> str | None:
    found = book.find(one.model, one.provider)
    return found.priced_by if found.card is not None else None


def _checked(one: UnpricedModel, now: str | None) -> str:
    who = f"{one.model} ({one.provider or 'no provider'})"
    what = {"no price": "no price", "estimate": "a guessed price", "floor": f"no price for {', '.join(one.unpriced)}"}
    by_now = f"; by now its price is known ({now})" if one.fault == "no price" and now in ("declared", "list") else ""
    return f"{who}: {what[one.fault]}, {one.calls:,} calls, {one.tokens:,} tokens, ${one.spend:.4f} recorded{by_now}"


def _changed(before: dict[str, str], after: dict[str, str]) -> str:
    names = sorted({*before, *after})
    return ", ".join(f"{name} {before.get(name, 'none')} → {after.get(name, 'none')}" for name in names)


def _day(moment: float) -> str | None:
    if moment in (float("-inf"), float("inf")):
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _days(count: int | None) -> str:
    return "1 day" if count == 1 else f"{count} days"
