"""Single calls, for whoever follows a figure down to what it is made of. Never a prompt or an answer: none is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.reports.queries import call_condition

_MOST = 200


class CallRow(NamedTuple):
    """One call.

    Attributes:
        time: unix seconds.
        outcome: how it ended.
        model, user, endpoint: who and what; ``None``: not said.
        input_tokens, output_tokens: of the call.
        cost: nano-dollars; ``None``: unknown.
        latency: seconds.
        reason: why it was refused or failed.
        fingerprint: calls with equal prompts have equal ones.
    """

    time: float
    outcome: str
    model: str
    user: str | None
    endpoint: str | None
    input_tokens: int
    output_tokens: int
    cost: int | None
    latency: float
    reason: str | None
    fingerprint: str | None


def latest_calls(ledger: Ledger, where: Mapping[str, str], *, since: float, limit: int = _MOST) -> list[CallRow]:
    """The newest calls ``since`` then (unix seconds) that have the values of ``where``.

    Raises:
        ConfigurationError: an unknown name in ``where``.
        CostGuardError: the ledger cannot be read.
    """
    columns = "time, outcome, model, user_id, endpoint, input_tokens, output_tokens, cost_nanos, latency, reason, "
    with ledger.reading() as database:
        condition, values = call_condition(database, where, since=since)
        sql = f"SELECT {columns}fingerprint FROM {TABLE} WHERE {condition} ORDER BY time DESC, id LIMIT {int(limit)}"
        return [CallRow(*row) for row in database.rows(sql, values)]
