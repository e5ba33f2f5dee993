"""Costs of calls whose price was not known when they were made, filled in when it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from costguard_core.ledger.columns import TABLE, to_event
from costguard_core.ledger.database import Connection, Database, Value
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import Cost, priced
from costguard_core.types import Call, Event

_BATCH = 500
_SET = ("cost_nanos", "model", "priced_by", "estimated", "unpriced", "price_source")

Correcting = Callable[[Connection, Sequence[str]], AbstractContextManager[None]]
"""Wraps a change of the events of these ids, so that what is added up from them follows."""


class Repricing(NamedTuple):
    """What was filled in, or would be.

    Attributes:
        unknown: calls whose cost was unknown.
        filled: those that have one now.
        nanos: what the filled ones cost together, in nano-dollars.
        estimates: calls left alone because their price would be an estimate.
        still_unknown: calls that still have no price, by provider and model.
        by_source: how many were filled, by who priced them.
    """

    unknown: int
    filled: int
    nanos: int
    estimates: int
    still_unknown: tuple[tuple[str | None, str, int], ...]
    by_source: tuple[tuple[str, int], ...]


class _Filled(NamedTuple):
    event: Event
    cost: Cost


def reprice(
    database: Database,
    prices: PriceBook,
    columns: str,
    condition: str,
    values: Sequence[Value],
    *,
    estimates: bool,
    dry_run: bool,
    correcting: Correcting,
) -> Repricing:
    """Fill in the unknown costs of the calls of a condition, each at the price of its own time, in small transactions.

    ``columns`` are those of :attr:`Ledger.columns_of_rows <costguard_core.ledger.Ledger.columns_of_rows>`.
    A cost that is known is never changed, also if another process fills it in at the same time.
    """
    unknown = filled = nanos = guessed = 0
    unpriced: Counter[tuple[str | None, str]] = Counter()
    sources: Counter[str] = Counter()
    last: tuple[float, str] | None = None
    while events := _next(database, columns, condition, values, last):
        last = (events[-1].time, events[-1].id)
        unknown += len(events)
        found = [_Filled(event, _cost(prices, event)) for event in events]
        known = [one for one in found if one.cost.nanos is not None]
        usable = [one for one in known if estimates or one.cost.priced_by != "estimate"]
        guessed += len(known) - len(usable)
        unpriced.update((one.event.provider, _asked(one.event)) for one in found if one.cost.nanos is None)
        done = usable if dry_run else _fill(database, usable, correcting)
        filled += len(done)
        nanos += sum(one.cost.nanos or 0 for one in done)
        sources.update(str(one.cost.priced_by) for one in done)
    rest = tuple((provider, model, count) for (provider, model), count in unpriced.most_common())
    return Repricing(unknown, filled, nanos, guessed, rest, tuple(sources.most_common()))


def _next(
    database: Database, columns: str, condition: str, values: Sequence[Value], last: tuple[float, str] | None
) -> list[Event]:
    after, more = ("TRUE", ()) if last is None else ("(time > ? OR (time = ? AND id > ?))", (last[0], *last))
    sql = (
        f"SELECT {columns} FROM {TABLE} WHERE cost_nanos IS NULL AND {condition} AND {after} "
        f"ORDER BY time, id LIMIT {_BATCH}"
    )
    return [to_event(row) for row in database.rows(sql, (*values, *more))]


def _asked(event: Event) -> str:
    return event.requested_model or event.model


def _cost(prices: PriceBook, event: Event) -> Cost:
    call = Call(event.id, _asked(event), event.time, event.provider, host=event.host)
    return priced(prices, call, event.usage, event.answered_model)


def _fill(database: Database, found: Sequence[_Filled], correcting: Correcting) -> list[_Filled]:
    """Write the costs, of those that are still unknown; returns these."""
    if not found:
        return []
    mark = database.mark
    new = ", ".join(f"{name} = {mark}" for name in _SET)
    change = f"UPDATE {TABLE} SET {new} WHERE id = {mark} AND cost_nanos IS NULL"
    ids = [one.event.id for one in found]
    with database.transaction() as connection, correcting(connection, ids):
        asked = f"SELECT id FROM {TABLE} WHERE cost_nanos IS NULL AND id IN ({', '.join([mark] * len(ids))})"
        still = {id for (id,) in connection.execute(asked, ids).fetchall()}
        done = [one for one in found if one.event.id in still]
        connection.cursor().executemany(change, [(*_values(one), one.event.id) for one in done])
    return done


def _values(one: _Filled) -> tuple[Value, ...]:
    cost, event = one.cost, one.event
    unpriced = json.dumps(cost.unpriced) if cost.unpriced else None
    estimated = event.estimated or cost.priced_by == "estimate"
    return cost.nanos, cost.model, cost.priced_by, estimated, unpriced, cost.source
