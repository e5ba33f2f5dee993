"""``costguard budget``: understand a budget, see what is left of it, and pull the manual switch."""

from __future__ import annotations

import getpass
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costguard_core.budgets.budget import Budget
from costguard_core.budgets.grammar import write_conditions
from costguard_core.cli.arguments import Json, names_and_values
from costguard_core.cli.printing import print_json, print_result, print_text
from costguard_core.errors import ConfigurationError, CostGuardError, StoreUnavailable
from costguard_core.types import attributed
from costguard_core.util.amounts import format_amount
from costguard_core.util.urls import SqliteUrl

if TYPE_CHECKING:
    from costguard_core.counters.base import CounterStore, GrantedLimit

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Understand budgets, see what is left of them, stop and resume spending.",
)

_DEFAULT_STORE = "sqlite:///costguard.db"

Texts = Annotated[list[str], typer.Argument(metavar="BUDGET", help='For example "$25/day per user".')]
SomeTexts = Annotated[list[str] | None, typer.Argument(metavar="BUDGET", help='For example "$25/day per user".')]
Zone = Annotated[str, typer.Option("--timezone", help="Where days, weeks and months begin.")]
Store = Annotated[
    str,
    typer.Option(envvar="COSTGUARD_STORE", help="The counter store: a URL, or the path of a SQLite file."),
]
Text = Annotated[str, typer.Argument(metavar="BUDGET", help='As in the application: "$25/day per user".')]
Scope = Annotated[list[str] | None, typer.Option(help="Whose, such as user=u1. Repeatable.")]
Name = Annotated[str | None, typer.Option(help="The budget's name, where the application gives it one.")]
By = Annotated[str | None, typer.Option(help="Who says so; the user of this machine, unless given.")]
Ledger = Annotated[
    str | None,
    typer.Option(envvar="COSTGUARD_DB", help="The ledger that records the change: a URL, or a SQLite file."),
]

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
    """Say in words what budgets allow.

    Example: costguard budget check '$25/day per user' '60 requests/minute'
    """
    parsed = _parsed(budgets, timezone)
    if as_json:
        print_json([_fields(budget) for budget in parsed])
        return
    for budget in parsed:
        print_text(f"{budget}\n  {explain(budget)}")


@app.command()
def status(
    budgets: SomeTexts = None,
    *,
    config: Annotated[
        Path | None, typer.Option(envvar="COSTGUARD_CONFIG", help="The policy file, where no budget is given.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            envvar="COSTGUARD_STORE",
            help=f"The counter store: a URL, or a SQLite file. The policy's, or else {_DEFAULT_STORE}.",
        ),
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="Only this scope, such as user=u1. Repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="The most scopes of each budget.")] = None,
    timezone: Zone = "UTC",
    as_json: Json = False,
) -> None:
    """Show limit, spent, held and remaining of every scope that has been used.

    Example: costguard budget status --config costguard.toml
    """
    from costguard_core.budgets.admission import AdmissionController
    from costguard_core.budgets.status import read_status
    from costguard_core.policy import load_policy
    from costguard_core.pricing import PriceBook

    rules: dict[str, Any] = {}
    if budgets:
        asked = _parsed(budgets, timezone)
    elif config is None:
        raise ConfigurationError(
            "whose status? Write costguard budget status '$25/day per user', or give the policy file: "
            "--config costguard.toml"
        )
    else:
        policy = load_policy(config)
        asked, store = list(policy.budgets), store or policy.options.get("store")
        rules = dict(policy.options)
    with _opened(store or _DEFAULT_STORE) as opened:
        admission = AdmissionController(asked, opened, PriceBook(), breaker=rules.get("breaker"))
        whose = names_and_values(scope, "--scope")
        found = read_status(admission, scope=whose, limit=limit, agents=rules.get("agents"))
    if as_json:
        rows = {"budgets": found.to_dicts(), "grants": [asdict(one) for one in found.grants]}
        stops: dict[str, Any] = {"stopped": [asdict(one) for one in found.stopped]}
        stops |= {"breaker": found.breaker, "agents": [asdict(one) for one in found.agents]}
        stops["emergency"] = None if found.emergency is None else asdict(found.emergency)
        print_json({"tripped": found.tripped, **rows, **stops, "truncated": found.truncated})
    else:
        print_text(found.to_text(shutil.get_terminal_size().columns if sys.stdout.isatty() else None))


@app.command()
def grant(
    budget: Text,
    *,
    limit: Annotated[str, typer.Option(help='What may be spent instead, such as "$50".')],
    scope: Scope = None,
    until: Annotated[str | None, typer.Option(help='When it ends: "24h", "7d" or a date. Never, unless given.')] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
    name: Name = None,
    timezone: Zone = "UTC",
    store: Store = _DEFAULT_STORE,
    db: Ledger = None,
    as_json: Json = False,
) -> None:
    """Give one scope of a budget another limit, for every process that uses the store, within a second.

    Example: costguard budget grant '$25/day per user' --scope user=u1 --limit 50
    """
    from costguard_core.budgets.limits import granted_limit
    from costguard_core.budgets.status import GrantStatus

    meant, who = Budget.parse(budget, timezone=timezone, name=name), _who(by)
    with _opened(store) as opened:
        whose = names_and_values(scope, "--scope")
        given = granted_limit(meant, whose, limit, until=until, reason=reason, by=who, now=opened.now())
        before = opened.grant_limit(given)
        unused = not opened.scopes(meant.key_prefix, limit=1)
        _record_change(db, "grant", before, given, reason=reason, by=who)
    found = GrantStatus.of(given)
    print_result(asdict(found), f"granted: {found}", as_json=as_json)
    if unused:
        print_text(
            "Nothing has been counted for this budget yet. Is it written as in the application, with the same "
            "--timezone and --name?",
            error=True,
        )


@app.command()
def revoke(
    budget: Text,
    *,
    scope: Scope = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
    name: Name = None,
    timezone: Zone = "UTC",
    store: Store = _DEFAULT_STORE,
    db: Ledger = None,
    as_json: Json = False,
) -> None:
    """Undo grant: the budget's own limit holds again.

    Example: costguard budget revoke '$25/day per user' --scope user=u1
    """
    from costguard_core.budgets.limits import counter_scope

    meant, who = Budget.parse(budget, timezone=timezone, name=name), _who(by)
    with _opened(store) as opened:
        found = opened.revoke_limit(meant.key(counter_scope(meant, names_and_values(scope, "--scope"))))
        if found is not None:
            _record_change(db, "revoke", found, None, reason=reason, by=who)
    said = f"{meant.name} counts to its own limit again." if found else f"No limit of {meant.name} was granted."
    print_result({"revoked": found is not None}, said, as_json=as_json)


@app.command(name="list")
def list_grants(*, store: Store = _DEFAULT_STORE, as_json: Json = False) -> None:
    """Show the limits that were granted and are in force.

    Example: costguard budget list --store redis://localhost:6379/0
    """
    from costguard_core.budgets.status import GrantStatus

    with _opened(store) as opened:
        found = [GrantStatus.of(one) for one in opened.granted_limits()]
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        print_text("\n".join(map(str, found)) or "No limit is granted: budgets count to their own.")


@app.command()
def trip(
    reason: Annotated[str, typer.Argument(help="Why; every refused call will say it.")],
    *,
    store: Store = _DEFAULT_STORE,
    db: Ledger = None,
    as_json: Json = False,
) -> None:
    """Refuse every call of every process that uses the store, until reset.

    Example: costguard budget trip 'the summariser runs wild'
    """
    with _opened(store) as opened:
        opened.trip(reason)
        _record_change(db, "trip", reason=reason, by=_who(None))
        print_result(
            {"tripped": opened.tripped()}, f"All calls through {opened.url} are refused: {reason}", as_json=as_json
        )


@app.command()
def emergency(
    *,
    max_input: Annotated[int | None, typer.Option(help="The most input tokens of one call.")] = None,
    rate: Annotated[str | None, typer.Option(help='Calls of everybody together, such as "30/minute".')] = None,
    spend: Annotated[str | None, typer.Option(help='Dollars of everybody together, such as "$5/hour".')] = None,
    max_cost: Annotated[str | None, typer.Option(help='The most that one call may cost, such as "$0.05".')] = None,
    cheapest: Annotated[bool, typer.Option("--cheapest", help="Routers use their cheapest tier only.")] = False,
    duration: Annotated[str | None, typer.Option("--for", help='How long, such as "2h"; "1h", unless given.')] = None,
    end: Annotated[bool, typer.Option("--end", help="End the caps now.")] = False,
    reason: Annotated[str, typer.Option(help="Why; refused calls do not say it, status and alerts do.")] = "",
    by: By = None,
    store: Store = _DEFAULT_STORE,
    db: Ledger = None,
    as_json: Json = False,
) -> None:
    """Cap everybody at once, in every process that uses the store; it ends by itself.

    Without a cap those of the table `emergency` in the policy file are used.

    Example: costguard budget emergency --max-input 4000 --rate 30/minute --for 2h
    """
    from costguard_core.budgets.emergency import Emergency, end_of

    who = _who(by)
    if end:
        with _opened(store) as opened:
            before = opened.controls()
            opened.put_controls("", 0.0)
            if before:
                _record_change(db, "end emergency", reason=reason, by=who)
        print_result({"ended": bool(before)}, "No caps are in force." if before else "None were.", as_json=as_json)
        return
    given = {"max_input": max_input, "rate": rate, "spend": spend, "max_cost": max_cost, "cheapest": cheapest or None}
    caps: dict[str, Any] = {name: value for name, value in given.items() if value is not None} or _prepared()
    prepared = caps.pop("duration", "1h")
    with _opened(store) as opened:
        now = opened.now()
        found = Emergency(end_of(duration or prepared, now), **caps, reason=reason, by=who, at=now)
        opened.put_controls(found.to_text(), found.until)
        _record_change(db, "emergency", reason=str(found), by=who)
    print_result(asdict(found), f"emergency: {found}", as_json=as_json)


@app.command()
def resume(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="A session that was stopped in a loop.")],
    *,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
    store: Store = _DEFAULT_STORE,
    db: Ledger = None,
    as_json: Json = False,
) -> None:
    """Let a session go on that was stopped because it was taken for a loop.

    Example: costguard budget resume chat-7
    """
    from costguard_core.budgets.loops import stop_key

    with _opened(store) as opened:
        found = opened.revoke_limit(stop_key(attributed(session) or ""))
        if found is not None:
            _record_change(db, "resume", found, None, reason=reason, by=_who(by))
    said = f"Session {session} may go on." if found else f"Session {session} was not stopped."
    print_result({"resumed": found is not None}, said, as_json=as_json)


@app.command()
def reset(*, store: Store = _DEFAULT_STORE, db: Ledger = None, as_json: Json = False) -> None:
    """Undo trip and close the breaker. What was spent stays spent.

    Example: costguard budget reset --store sqlite:///costguard.db
    """
    with _opened(store) as opened:
        opened.reset()
        _record_change(db, "reset", by=_who(None))
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


def _record_change(
    db: str | None,
    action: str,
    before: GrantedLimit | None = None,
    after: GrantedLimit | None = None,
    *,
    reason: str = "",
    by: str = "",
) -> None:
    """Record a change in the ledger ``db``, or in the one in the default file if it is there; say so where it is not.

    Raises:
        ConfigurationError: there is no ledger ``db``, or it cannot be used.
    """
    from costguard_core.ledger import open_ledger
    from costguard_core.ledger.audit import describe_change
    from costguard_core.lifecycle.calls import CallIds

    url = _ledger_url(db)
    if url is None:
        print_text("The change is recorded in no ledger: name one with --db, or in COSTGUARD_DB.", error=True)
        return
    with open_ledger(url) as ledger:
        ledger.record_change(describe_change(CallIds()(), time.time(), action, before, after, reason=reason, by=by))


def _prepared() -> dict[str, Any]:
    """The caps that the policy file has prepared, if there is one."""
    from costguard_core.policy import load_policy
    from costguard_core.policy.policy import find_policy

    try:
        path = find_policy()
    except ConfigurationError:
        return {}
    return dict(load_policy(path).emergency)


def _ledger_url(db: str | None) -> str | None:
    if db is None:
        return _DEFAULT_STORE if Path(_DEFAULT_STORE.removeprefix("sqlite:///")).exists() else None
    return db if "://" in db else f"sqlite:///{db}"


def _who(by: str | None) -> str:
    """The name given, or that of the user of this machine, where it has one."""
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


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
