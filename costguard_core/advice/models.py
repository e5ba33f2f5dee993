"""Models that are dearer than their results need: long documents, and questions that a cheaper one answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import sqrt

from costguard_core.advice.finding import Finding, by_days
from costguard_core.advice.source import (
    FEWEST_CALLS,
    SPAN,
    Calls,
    Source,
    at_endpoint,
    cheaper_models,
    dollars,
    is_endpoint,
)
from costguard_core.ledger.columns import TABLE
from costguard_core.types import Usage, usd
from costguard_core.util.text import printable
from costguard_core.util.toml_document import toml_text

# Choices: what is a long document, and how alike the answers of a cheaper model must be.
_LONG = 8_000  # tokens of a prompt, in the mean
_UNIQUE = 0.95  # different prompts per call
_SHORT_ANSWER = 0.25  # of the prompt
_CHEAPER = 0.5  # of the price
_ALIKE = 0.7  # of the pairs of the prompt log, at the lower bound of the interval
_FEWEST_PAIRS = 50


def find_documents(source: Source) -> Iterator[Finding]:
    """Long prompts that are never the same, which no cache helps and a cheaper model may summarise."""
    for group in source.groups:
        unlike = group.prompts >= _UNIQUE * group.calls
        fresh = group.input_tokens - group.read_tokens - group.write_tokens  # the rest is a prefix: see prompts.py
        short = group.output_tokens <= _SHORT_ANSWER * fresh
        if group.calls < FEWEST_CALLS or fresh < _LONG * group.calls or not unlike or not short or group.spread < 0.15:
            continue
        usage = Usage(
            input_tokens=group.input_tokens // group.calls,
            output_tokens=group.output_tokens // group.calls,
            cache_read_tokens=group.read_tokens // group.calls,
        )
        now = source.price(group.model, group.provider, usage)
        options = cheaper_models(source, group, usage, at_most=_CHEAPER)
        if now and options:
            yield from _cheaper_documents(source, group, now, options[0])


def _cheaper_documents(
    source: Source, group: Calls, now: int, option: tuple[int, str, str | None]
) -> Iterator[Finding]:
    cost, model, _ = option
    saving, low, high = by_days(
        {day: round(spent * (1 - cost / now)) for day, spent in source.by_day(group, "SUM(cost_nanos)").items()},
        source.days,
    )
    if saving < source.least:
        return
    paid, values = source.of_group(group)
    each = usd(group.cost // group.calls)
    yield source.finding(
        "documents",
        group.endpoint,
        f"{group.calls:,} documents of {group.mean_input:,.0f} tokens on average, all different, cost ${each:.4f} each "
        f"with {printable(group.model)}; {printable(model)} would cost ${usd(cost):.4f}",
        (saving, low, high),
        how=f"what they cost, less the price of the same tokens with {printable(model)}; interval from the days",
        confidence="medium",
        risk="a cheaper model may summarise worse: let TieredRouter(log=…) answer a sample twice first",
        evidence=source.query(
            f"SELECT id, user_id, input_tokens, output_tokens, cost_nanos {paid} ORDER BY cost_nanos DESC, id",
            *values,
        ),
        columns=("id", "user_id", "input_tokens", "output_tokens", "cost_nanos"),
        lines=(
            *at_endpoint(group.endpoint, "models", f"[{toml_text(model)}]"),
            *at_endpoint(group.endpoint, "max_cost_per_call", dollars(4 * cost)),
        ),
        code=f"route long documents to {printable(model)}: TieredRouter((is_long, cheap), strong)",
        calls=group.calls,
    )


def find_dear_models(source: Source) -> Iterator[Finding]:
    """Questions that a cheaper model answers as well, where the prompt log has seen both answer."""
    pairs = defaultdict(list)
    for pair, _ in source.pairs:
        if pair.weak is not None and pair.strong is not None and pair.weak_model and pair.strong_model:
            pairs[pair.tag, pair.strong_model, pair.weak_model].append(pair)
    for (tag, strong, weak), both in pairs.items():
        good = sum(pair.weak >= pair.strong for pair in both)
        low, high = wilson(good, len(both))
        for group in source.groups:
            if group.model != strong or group.endpoint != tag or len(both) < _FEWEST_PAIRS or low < _ALIKE:
                continue
            usage = Usage(
                input_tokens=group.input_tokens // group.calls, output_tokens=group.output_tokens // group.calls
            )
            now, then = source.price(strong, group.provider, usage), source.price(weak, group.provider, usage)
            if not now or then is None or then >= now or group.calls < FEWEST_CALLS:
                continue
            part, share = 1 - then / now, good / len(both)
            money = tuple(round(group.cost * part * each) for each in (share, low, high))
            if money[0] < source.least:
                continue
            condition, values = is_endpoint(group.endpoint)
            yield source.finding(
                "dear model",
                group.endpoint,
                f"{printable(weak)} answered {good} of {len(both)} sampled questions as well as {printable(strong)}, "
                f"at {then / now:.0%} of the price",
                (money[0], money[1], money[2]),
                how="what the model cost here, times the difference of the prices, times the share of pairs in which "
                f"the cheaper answer was as good (95 % interval {low:.0%} to {high:.0%}, Wilson)",
                confidence="high" if low >= 0.8 else "medium",
                risk="the sample may be easier than what comes next: keep verify= or the shadow sample on",
                evidence=source.query(
                    f"SELECT model, COUNT(*), SUM(cost_nanos), SUM(output_tokens) FROM {TABLE} WHERE {SPAN} "
                    f"AND outcome = 'miss' AND {condition} GROUP BY model ORDER BY 3 DESC, 1",
                    *values,
                ),
                columns=("model", "calls", "cost_nanos", "output_tokens"),
                lines=at_endpoint(group.endpoint, "models", f"[{toml_text(weak)}, {toml_text(strong)}]"),
                code=f"TieredRouter(cheap={printable(weak)}, strong={printable(strong)}), trained with "
                "costguard router train",
                calls=group.calls,
            )


def wilson(good: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval (Wilson)."""
    z, share = 1.96, good / of
    centre = share + z * z / (2 * of)
    margin = z * sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (centre - margin) / (1 + z * z / of)), min(1.0, (centre + margin) / (1 + z * z / of))
