"""Answers that are longer than others, and calls that cost money and gave none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from costguard_core.advice.finding import Finding, by_days
from costguard_core.advice.source import FEWEST_CALLS, SPAN, Source, at_endpoint, dollars, is_endpoint
from costguard_core.ledger.columns import TABLE
from costguard_core.types import Usage
from costguard_core.util.text import printable

_LONG = 4  # times the median answer
_FEW = 0.25  # at most that part of the calls: else long answers are what is wanted


def find_long_answers(source: Source) -> Iterator[Finding]:
    """A few answers, much longer than the usual one, that carry a large part of the cost."""
    ranked = (
        "SELECT endpoint, model, provider, output_tokens, "
        "ROW_NUMBER() OVER (PARTITION BY endpoint, model, provider ORDER BY output_tokens) AS place, "
        "COUNT(*) OVER (PARTITION BY endpoint, model, provider) AS of_all "
        f"FROM {TABLE} WHERE {SPAN} AND outcome = 'miss' AND cost_nanos > 0 AND output_tokens > 0"
    )
    medians = {
        tuple(whose): (int(tokens), int(count))
        for *whose, tokens, count in source.read(
            "SELECT endpoint, model, provider, output_tokens, of_all "
            f"FROM ({ranked}) AS ranked WHERE place = (of_all + 1) / 2"
        )
    }
    for group in source.groups:
        median, count = medians.get(group[:3], (0, 0))
        cap = _LONG * median
        if count < FEWEST_CALLS or not cap:
            continue
        paid, values = source.of_group(group)
        longer = f"{paid} AND output_tokens > {cap}"
        rows = source.read(f"SELECT {source.day} AS day, COUNT(*), SUM(output_tokens) {longer} GROUP BY 1", *values)
        calls = sum(int(number) for _, number, _ in rows)
        rate = source.price(group.model, group.provider, Usage(output_tokens=1_000_000))
        if not rate or not FEWEST_CALLS <= calls <= _FEW * group.calls:
            continue
        others, between = source.read(
            f"SELECT AVG(output_tokens), SUM(CASE WHEN output_tokens > {cap // 2} THEN 1 ELSE 0 END) {paid} "
            f"AND output_tokens <= {cap}",
            *values,
        )[0]
        if int(between) >= calls:  # no answers of another kind, but the longest of a wide range
            continue
        usual = float(others)
        beyond = {day: (int(tokens) - int(number) * usual, int(number)) for day, number, tokens in rows}
        saving, _, high = by_days({day: round(over * rate / 1e6) for day, (over, _) in beyond.items()}, source.days)
        least = sum((over - number * (cap - usual)) * rate / 1e6 for over, number in beyond.values())
        money = (saving, max(0, round(least)), high)
        capped = Usage(input_tokens=round(2 * group.mean_input), output_tokens=cap)
        most = source.price(group.model, group.provider, capped)
        if money[0] >= source.least and most:
            yield source.finding(
                "long answers",
                group.endpoint,
                f"{calls:,} of {group.calls:,} answers are longer than {cap:,} tokens, {_LONG} times the median of "
                f"{median:,}",
                money,
                how=f"the tokens beyond {usual:,.0f}, the mean of the other answers, at the model's price for output; "
                f"the lower bound is those beyond {cap:,}, the upper one from the days",
                confidence="medium",
                risk="an answer that needs the length is cut: look at the longest ones first",
                evidence=source.query(
                    f"SELECT id, output_tokens, reasoning_tokens, cost_nanos {longer} ORDER BY output_tokens DESC, id",
                    *values,
                ),
                columns=("id", "output_tokens", "reasoning_tokens", "cost_nanos"),
                lines=at_endpoint(group.endpoint, "max_cost_per_call", dollars(most)),
                code=f"max_tokens={cap}, or ask for structured output, here",
                calls=calls,
            )


def find_paid_errors(source: Source) -> Iterator[Finding]:
    """Calls that were paid and gave no answer: timeouts, answers that could not be read, streams that were left."""
    failed = "outcome IN ('error', 'abandoned') AND cost_nanos > 0"
    rows = source.read(
        f"SELECT endpoint, {source.day} AS day, COUNT(*), SUM(cost_nanos) FROM {TABLE} WHERE {SPAN} AND {failed} "
        "GROUP BY 1, 2"
    )
    days: dict[str | None, dict[object, int]] = defaultdict(dict)
    calls: dict[str | None, int] = defaultdict(int)
    for endpoint, day, count, cost in rows:
        days[endpoint][day] = int(cost)
        calls[endpoint] += int(count)
    for endpoint, daily in days.items():
        money = by_days(daily, source.days)
        if calls[endpoint] < FEWEST_CALLS or money[0] < source.least:
            continue
        condition, values = is_endpoint(endpoint)
        query = source.query(
            f"SELECT reason, outcome, COUNT(*), SUM(cost_nanos) FROM {TABLE} WHERE {SPAN} AND {failed} AND "
            f"{condition} GROUP BY reason, outcome ORDER BY 4 DESC, 1",
            *values,
        )
        found = source.finding(
            "paid errors",
            endpoint,
            f"{calls[endpoint]:,} calls were paid and gave no answer",
            money,
            how="the sum of what they cost, which is an estimate where the provider reported nothing",
            confidence="high",
            risk="a longer timeout lets users wait",
            evidence=query,
            columns=("reason", "outcome", "calls", "cost_nanos"),
            code="",
            calls=calls[endpoint],
        )
        first = printable(str(found.rows[0][0])) if found.rows else "unknown"
        code = (
            f"mend the cause, most often {first}: a client timeout above the usual latency, no retries of the client "
            "beside your own, an answer that can be parsed"
        )
        yield replace(found, code=code)
