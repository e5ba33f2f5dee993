"""``costguard budget``: understand a budget, see what is left of it, and pull the manual switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.budgets.budget import Budget
from costguard_core.budgets.grammar import write_conditions
from costguard_core.cli.arguments import names_and_values
from costguard_core.cli.printing import print_json, print_result, print_text
from costguard_core.errors import ConfigurationError, CostGuardError, StoreUnavailable
from costguard_core.util.amounts import format_amount
from costguard_core.util.urls import SqliteUrl

if TYPE_CHECKING:
    from costguard_core.counters.base import CounterStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Understand budgets, see what is left of them, stop and resume spending.",
)

Texts = Annotated[list[str], typer.Argument(metavar="BUDGET…", help='For example "$25/day per user".')]
Zone = Annotated[str, typer.Option("--timezone", help="Where days, weeks and months begin.")]
Store = Annotated[
    str,
    typer.Option(envvar="COSTGUARD_STORE", help="The counter store: a URL, or the path of a SQLite file."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_DEFAULT_STORE = "sqlite:///costguard.db"
_PERIODS = {
    "call": "any single call",
    "minute": "any 60 seconds",
    "hour": "any 60 minutes",
    "day": "a calendar day ({zone})",
    "week": "a week from Monday ({zone})",
    "month": "a calendar month ({zone})",
    "total": "all time",
}


@app.command()
def check(budgets: Texts, *, timezone: Zone = "UTC", as_json: Json = False) -> None:
    """Say in words what budgets allow."""
    parsed = _parsed(budgets, timezone)
    if as_json:
        print_json([_fields(budget) for budget in parsed])
        return
    for budget in parsed:
        print_text(f"{budget}\n  {explain(budget)}")


@app.command()
def status(
    budgets: Texts,
    *,
    store: Store = _DEFAULT_STORE,
    scope: Annotated[list[str] | None, typer.Option(help="Only this scope, such as user=u1. Repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="The most scopes of each budget.")] = None,
    timezone: Zone = "UTC",
    as_json: Json = False,
) -> None:
    """Show limit, spent, held and remaining of every scope that has been used."""
    from costguard_core.budgets.admission import AdmissionController
    from costguard_core.budgets.status import read_status
    from costguard_core.pricing import PriceBook

    with _opened(store) as opened:
        admission = AdmissionController(_parsed(budgets, timezone), opened, PriceBook())
        found = read_status(admission, scope=names_and_values(scope, "--scope"), limit=limit)
    if as_json:
        print_json({"tripped": found.tripped, "budgets": found.to_dicts(), "truncated": found.truncated})
    else:
        print_text(str(found))


@app.command()
def trip(
    reason: Annotated[str, typer.Argument(help="Why; every refused call will say it.")],
    *,
    store: Store = _DEFAULT_STORE,
    as_json: Json = False,
) -> None:
    """Refuse every call of every process that uses the store, until reset."""
    with _opened(store) as opened:
        opened.trip(reason)
        print_result(
            {"tripped": opened.tripped()}, f"All calls through {opened.url} are refused: {reason}", as_json=as_json
        )


@app.command()
def reset(*, store: Store = _DEFAULT_STORE, as_json: Json = False) -> None:
    """Undo trip and close the breaker. What was spent stays spent."""
    with _opened(store) as opened:
        opened.reset()
        print_result({"tripped": opened.tripped()}, f"Calls through {opened.url} may be made again.", as_json=as_json)


def explain(budget: Budget) -> str:
    """A budget in words."""
    period = _PERIODS[budget.window].format(zone=budget.timezone)
    together = "" if budget.window == "call" else " for everybody together"
    apart = f" for each {' and '.join(budget.per)}" if budget.per else together
    only = f", of calls with {write_conditions(budget.conditions)}" if budget.conditions else ""
    limit = f"At most {format_amount(budget.amount, budget.unit)} in {period}{apart}{only}."
    unsaid = f" Calls without a {' or '.join(budget.per)} share one limit." if budget.per else ""
    return f"{limit}{unsaid} A call that could pass it is refused before it is made."


def _fields(budget: Budget) -> dict[str, Any]:
    return {
        "budget": str(budget),
        "limit": budget.limit,
        "unit": budget.unit,
        "window": budget.window,
        "per": list(budget.per),
        "where": dict(budget.conditions),
        "timezone": budget.timezone,
        "meaning": explain(budget),
    }


def _parsed(texts: list[str], timezone: str) -> list[Budget]:
    return [Budget.parse(text, timezone=timezone) for text in texts]


@contextmanager
def _opened(url: str) -> Iterator[CounterStore]:
    """The store at ``url``. A SQLite file must exist: a typing mistake shall not look like an empty store."""
    from costguard_core.counters import open_store

    scheme, found, rest = url.partition("://")
    place = SqliteUrl.read(rest) if scheme == "sqlite" else None
    path = place.path if place else url
    if scheme == "memory":
        raise ConfigurationError("memory:// lives inside the application's process: use guard.status() there")
    if (not found or scheme == "sqlite") and not Path(path).exists():
        raise ConfigurationError(f"there is no counter store at {path!r}")
    with closing(open_store(url if found else f"sqlite:///{path}")) as store:
        try:
            yield store
        except StoreUnavailable as error:  # whose own text is for a call that was refused
            raise CostGuardError(f"the counter store {error.store} is unavailable: {error.cause}") from error
