"""Looking for waste in a ledger, in order of money."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from costguard_core.advice.answers import find_long_answers, find_paid_errors
from costguard_core.advice.finding import Advice, Finding
from costguard_core.advice.limits import find_idle_budgets, find_tight_budgets
from costguard_core.advice.models import find_dear_models, find_documents
from costguard_core.advice.prompts import find_prefixes, find_templates, find_unread_writes
from costguard_core.advice.repeats import find_repeats
from costguard_core.advice.source import SPAN, Source
from costguard_core.budgets.budget import Budget
from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.pricing import PriceBook, public_prices
from costguard_core.util.timeparse import Moment

_FINDERS: tuple[Callable[[Source], Iterator[Finding]], ...] = (
    find_repeats,
    find_documents,
    find_dear_models,
    find_templates,
    find_prefixes,
    find_unread_writes,
    find_long_answers,
    find_paid_errors,
    find_idle_budgets,
    find_tight_budgets,
)


def advise(
    ledger: Ledger,
    *,
    since: Moment = "30d",
    until: Moment | None = None,
    prices: PriceBook | None = None,
    budgets: Sequence[Budget] = (),
    pairs: Sequence[object] = (),
) -> Advice:
    """What to change, the dearest first. It reads single calls, so it looks back as far as the ledger keeps them.

    Nothing is said of fewer than 20 calls, nor of less than half a percent of the spend.

    Args:
        ledger: what was spent.
        since, until: the span.
        prices: what other models would cost; the public lists unless given.
        budgets: those in force, to find the ones that never bind.
        pairs: of a prompt log, ``PromptLog.pairs()``: what a cheaper model answered, and the texts of questions.

    Raises:
        ConfigurationError: a wrong time.
        CostGuardError: the ledger cannot be read.
    """
    start, end = ledger.resolve_span(since, until)
    with ledger.reading() as database, database.snapshot() as reader:
        end = ledger.clock() if end is None else end
        (calls, spend, first), *_ = reader.rows(
            f"SELECT COUNT(*), SUM(cost_nanos), MIN(time) FROM {TABLE} WHERE {SPAN}", (start or 0.0, end)
        )
        start = max(start or 0.0, float(first or end))  # a ledger that began later has fewer days
        source = Source(
            database, reader, start, end, int(calls), int(spend or 0), prices or public_prices(), budgets, pairs
        )
        source.load()
        found = [finding for find in _FINDERS for finding in find(source)] if calls else []
    found.sort(key=lambda finding: (-finding.saving, finding.mark))
    return Advice(tuple(found), source.spend, start, end, source.calls)
