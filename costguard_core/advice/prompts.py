"""What is sent again and again: prefixes that a provider would cache, caches that nobody reads, ids inside prompts."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from costguard_core.advice.finding import Finding, by_days
from costguard_core.advice.source import FEWEST_CALLS, SPAN, Calls, Source, at_endpoint, is_endpoint
from costguard_core.cache.language.detection import language_of
from costguard_core.ledger.columns import TABLE
from costguard_core.types import Usage, usd

# Minimum of a prefix that is cached, in tokens: https://platform.openai.com/docs/guides/prompt-caching and
# https://platform.claude.com/docs/en/build-with-claude/prompt-caching (by model).
_LEAST_PREFIX = 1_024
_LEAST_BY_NAME = (("haiku-4", 4_096), ("opus-4", 4_096), ("haiku", 2_048), ("gemini", 2_048))
_LIFE = 300  # seconds that a prefix stays cached (both documents)
_ALIKE = 0.8  # the shortest prompt is at least that part of the mean: most of each prompt may be the same
_READ = 0.1  # of the input, from which a prompt cache works
_WARM = 0.3  # of the calls, within the life of a cache after another one
_LOPSIDED = 0.5  # skewness of the lengths, from which a varying part stands behind a fixed one
_ADDRESS = re.compile(r"\S+@\S+|\w+://\S+")
_WORD = re.compile(r"[\w.,:/#-]*\d[\w.,:/-]*\w|\d|[^\W\d_]+(?:['’-][^\W\d_]+)*|[.!?:\n]")
_PARTICLES = 3  # letters: of names such as "van Dijk"
_MASK = "·"


def find_prefixes(source: Source) -> Iterator[Finding]:
    """Prompts that begin alike and are billed in full, though the provider would cache their beginning."""
    for group in source.groups:
        least = next((tokens for name, tokens in _LEAST_BY_NAME if name in group.model), _LEAST_PREFIX)
        if (
            group.calls < FEWEST_CALLS
            or group.least_input < max(least, _ALIKE * group.mean_input)
            or group.write_tokens  # it has marks for the cache already: see below
            or group.read_tokens > _READ * group.input_tokens
            or group.prompts < group.calls / 2  # equal prompts are the answer cache's
            or group.spread > 0.1
        ):
            continue
        each = Usage(input_tokens=round(group.mean_input))
        warm = Usage(input_tokens=round(group.mean_input), cache_read_tokens=group.least_input)
        plain, cached = (source.price(group.model, group.provider, usage) for usage in (each, warm))
        if not plain or cached is None or cached >= plain:
            continue
        paid, values = source.of_group(group)
        near = (
            f"FROM (SELECT id, {source.day} AS day, time, input_tokens, cache_read_tokens, "
            f"LAG(time) OVER (ORDER BY time, id) AS before {paid}) AS near WHERE time - before <= {_LIFE}"
        )
        rows = source.read(f"SELECT day, COUNT(*) {near} GROUP BY day", *values)
        calls = sum(int(count) for _, count in rows)
        saving, _, high = by_days({day: int(count) * (plain - cached) for day, count in rows}, source.days)
        if calls < _WARM * group.calls or saving < source.least or _skewness(source, group) < _LOPSIDED:
            continue
        yield source.finding(
            "prefix",
            group.endpoint,
            f"{calls:,} prompts of {group.mean_input:,.0f} tokens differ little in length, follow another one within "
            f"five minutes, and {group.read_tokens / group.input_tokens:.0%} of them is read from the cache of "
            "the provider",
            (saving, 0, high),
            how=f"{group.least_input:,} tokens, as long as the shortest prompt, at the cached price for each of these "
            "calls; the lower bound is nothing, because the ledger has no texts: prompts may be as long and not alike",
            confidence="low",
            risk="none for the answers; the text that changes moves behind the text that stays",
            evidence=source.query(
                f"SELECT id, time, input_tokens, cache_read_tokens, time - before {near} ORDER BY time, id", *values
            ),
            columns=("id", "time", "input_tokens", "cache_read_tokens", "seconds_after"),
            code="put what stays the same first, and ids, dates and questions last: PromptEconomy(...), which finds "
            "what changes",
            calls=calls,
        )


def _skewness(source: Source, group: Calls) -> float:
    """How much further the lengths of prompts scatter upwards than downwards (third standardised moment).

    What people write varies so, behind text that stays. Prompts that are made of pieces of nearly one length, such as
    passages that were found, scatter evenly, and have no beginning in common.
    """
    deviation = group.spread * group.mean_input
    if not deviation:
        return 0.0
    paid, values = source.of_group(group)
    mean = f"{group.mean_input!r}"
    off = f"(input_tokens - {mean})"
    ((third,),) = source.read(f"SELECT AVG({off} * {off} * {off}) {paid}", *values)
    return float(third) / deviation**3


def find_unread_writes(source: Source) -> Iterator[Finding]:
    """Prefixes that are written into the provider's cache at a surcharge, and hardly read."""
    for group in source.groups:
        if not group.write_tokens or group.calls < FEWEST_CALLS:
            continue
        mean = Usage(
            input_tokens=round(group.mean_input),
            cache_write_tokens=group.write_tokens // group.calls,
            cache_read_tokens=group.read_tokens // group.calls,
        )
        with_cache = source.price(group.model, group.provider, mean)
        without = source.price(group.model, group.provider, Usage(input_tokens=mean.input_tokens))
        if with_cache is None or without is None or with_cache <= without:
            continue
        counts = source.by_day(group, "COUNT(*)")
        money = by_days({day: count * (with_cache - without) for day, count in counts.items()}, source.days)
        paid, values = source.of_group(group)
        if money[0] >= source.least:
            yield source.finding(
                "unread cache",
                group.endpoint,
                f"{group.write_tokens:,} tokens were written into the provider's cache at a surcharge, and "
                f"{group.read_tokens:,} read from it",
                money,
                how="what the calls cost, less what they would cost without writing; interval from the days",
                confidence="high",
                risk="none while so few are read",
                evidence=source.query(
                    f"SELECT id, time, input_tokens, cache_write_tokens, cache_read_tokens, cost_nanos {paid} "
                    "AND cache_write_tokens > 0 ORDER BY cost_nanos DESC, id",
                    *values,
                ),
                columns=("id", "time", "input_tokens", "cache_write_tokens", "cache_read_tokens", "cost_nanos"),
                code="leave out cache_control here, or make the marked prefix the same in every call",
                calls=group.calls,
            )


def find_templates(source: Source) -> Iterator[Finding]:
    """Questions that differ only in an id, a number, a date or a name; only the prompt log has texts."""
    texts: dict[str | None, list[str]] = defaultdict(list)
    for pair, _ in source.pairs:
        texts[pair.tag].append(pair.prompt)
    for endpoint, prompts in texts.items():
        groups = [group for group in source.groups if group.endpoint == endpoint]
        cost, calls = sum(group.cost for group in groups), sum(group.calls for group in groups)
        exact = len(prompts) - len(set(prompts))
        alike = len(prompts) - len({masked(prompt) for prompt in prompts})
        if len(prompts) < FEWEST_CALLS or calls < FEWEST_CALLS or alike - exact < len(prompts) / 5:
            continue
        share = (alike - exact) / len(prompts)
        margin = 2 * (share * (1 - share) / len(prompts)) ** 0.5
        money = tuple(round(cost * each) for each in (share, max(0.0, share - margin), min(1.0, share + margin)))
        if money[0] < source.least:
            continue
        condition, values = is_endpoint(endpoint)
        mean = usd(cost // calls)
        yield source.finding(
            "template",
            endpoint,
            f"{alike - exact} of {len(prompts)} logged questions are an earlier one with another id, number, date or "
            f"name; calls cost ${mean:.4f} each",
            (money[0], 0, money[2]),
            how="the cost here, times the share of logged questions that are new only in such a part; an upper "
            "estimate, because the answer may depend on it",
            confidence="low",
            risk="where the answer depends on the part that differs, a shared answer is wrong: look at the log first",
            evidence=source.query(
                f"SELECT fingerprint, input_tokens, output_tokens, cost_nanos FROM {TABLE} WHERE {SPAN} AND "
                f"outcome = 'miss' AND {condition} ORDER BY time, id",
                *values,
            ),
            columns=("fingerprint", "input_tokens", "output_tokens", "cost_nanos"),
            lines=at_endpoint(endpoint, "cache", '{ ttl = "1d" }'),
            code="leave out of the prompt what the answer does not need (ids, dates, names), or fill it into the "
            "answer afterwards",
            calls=calls,
        )


def masked(text: str) -> str:
    """The words of a prompt without ids, addresses, numbers, dates and names inside sentences.

    A word with a digit is an id, a number or a date; one with a capital that begins no sentence is a name, but for
    German, which writes nouns so.
    """
    names = language_of(text) != "de"
    found: list[str] = []
    begins = True
    for word in _WORD.findall(_ADDRESS.sub(" 0 ", text)):
        if word in ".!?:\n":
            begins = True
            continue
        name = names and not begins and word[0].isupper() and word != "I"
        if name and len(found) > 1 and len(found[-1]) <= _PARTICLES and found[-2] == _MASK and found[-1].islower():
            found.pop()
        if not (name or any(map(str.isdigit, word))):
            found.append(word.lower())
        elif not found or found[-1] != _MASK:
            found.append(_MASK)
        begins = False
    return " ".join(found)
