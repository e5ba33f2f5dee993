"""Which models of a ledger have no price, a guessed one, or parts that nobody priced."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.ledger import span
from costguard_core.types import usd
from costguard_core.util.timeparse import Moment

Fault = Literal["no price", "estimate", "floor"]


class UnpricedModel(NamedTuple):
    """Calls of one model whose cost is not certain, for one reason.

    Attributes:
        provider: of the calls, ``None`` if it was not given.
        model: the name that was asked for.
        fault: ``"no price"``: their cost is unknown; ``"estimate"``: the price is a guess; ``"floor"``: something was
            billed beside the cost and has no price.
        calls: how many.
        tokens: of prompts and answers together.
        spend: what is recorded for them, in dollars.
        unpriced: what has no price, where ``fault`` is ``"floor"``.
    """

    provider: str | None
    model: str
    fault: Fault
    calls: int
    tokens: int
    spend: Decimal
    unpriced: tuple[str, ...] = ()


# What a crashed process held is an estimate whatever the price is.
_FAULT = (
    "CASE WHEN cost_nanos IS NULL THEN 'no price' "
    "WHEN priced_by = 'estimate' AND outcome <> 'abandoned' THEN 'estimate' "
    "WHEN unpriced IS NOT NULL THEN 'floor' END"
)


def unpriced_models(ledger: Ledger, *, since: Moment | None = None, until: Moment | None = None) -> list[UnpricedModel]:
    """The models of a ledger whose cost is not certain, those with the most calls first.

    Raises:
        ConfigurationError: what is given is no time.
        CostGuardError: the ledger cannot be read.
    """
    condition, values = span(*ledger.resolve_span(since, until))
    faulty = "(cost_nanos IS NULL OR (priced_by = 'estimate' AND outcome <> 'abandoned') OR unpriced IS NOT NULL)"
    sql = (
        f"SELECT provider, COALESCE(requested_model, model), {_FAULT}, unpriced, COUNT(*), "
        "SUM(input_tokens + output_tokens), COALESCE(SUM(cost_nanos), 0) "
        f"FROM {TABLE} WHERE {faulty} AND {condition} GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 2"
    )
    with ledger.reading() as database:
        return [_model(row) for row in database.rows(sql, values)]


def _model(row: tuple[Any, ...]) -> UnpricedModel:
    provider, model, fault, unpriced, calls, tokens, nanos = row
    return UnpricedModel(
        provider, model, fault, int(calls), int(tokens), usd(int(nanos)), tuple(json.loads(unpriced or "[]"))
    )
