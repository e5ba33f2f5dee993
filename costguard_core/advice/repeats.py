"""The same prompt paid again: what a cache, a wider scope, single flight or loop detection would not have paid."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from costguard_core.advice.finding import Confidence, Finding, PolicyLine, by_days
from costguard_core.advice.source import FEWEST_CALLS, SPAN, Source, at_endpoint, is_endpoint
from costguard_core.ledger.columns import TABLE

_LIFE, _DAY = 86_400.0, 86_400.0  # seconds: the life of a cached answer that is reckoned with
_LOOP = 5  # repetitions in one session that are no loop yet
_COLUMNS = ("fingerprint", "session_id", "calls", "cost_nanos", "users")


class _Paid(NamedTuple):
    endpoint: str | None
    model: str
    fingerprint: str
    session: str | None
    user: str | None
    time: float
    latency: float
    cost: int


def find_repeats(source: Source) -> Iterator[Finding]:
    """Findings about prompts that were paid more than once."""
    paid = f"FROM {TABLE} WHERE {SPAN} AND outcome = 'miss' AND cost_nanos > 0 AND fingerprint IS NOT NULL"
    rows = source.reader.rows(
        f"SELECT endpoint, model, fingerprint, session_id, user_id, time, latency, cost_nanos {paid} AND fingerprint "
        f"IN (SELECT fingerprint {paid} GROUP BY fingerprint HAVING COUNT(*) > 1) "
        "ORDER BY endpoint, model, fingerprint, time, id",
        (source.start, source.end, source.start, source.end),
    )
    calls: Counter[tuple[str | None, str]] = Counter()
    alone: Counter[tuple[str | None, str]] = Counter()  # asked by whoever asked before
    daily: dict[tuple[str | None, str], dict[object, int]] = defaultdict(lambda: defaultdict(int))
    for _, same in groupby(map(_Paid._make, rows), key=lambda call: call[:3]):
        for call, cause, saved, own in _causes(list(same)):
            # Where nothing is cached, it does not matter who asked.
            kind = "again" if cause == "others" and not source.hits.get(call.endpoint) else cause
            calls[call.endpoint, kind] += 1
            alone[call.endpoint, kind] += own
            daily[call.endpoint, kind][call.time // _DAY] += saved
    for (endpoint, kind), count in calls.items():
        money = by_days(daily[endpoint, kind], source.days)
        if count >= FEWEST_CALLS and money[0] >= source.least:
            by_one = alone[endpoint, kind] > count / 2
            yield _finding(source, endpoint, kind, count, money, by_one=by_one)


def _causes(same: Sequence[_Paid]) -> Iterator[tuple[_Paid, str, int, bool]]:
    """The calls with one prompt that a cache whose answers live for a day would have answered, why they were paid, what
    they cost, and whether the same user had asked before. In a loop only the steps count that loop detection would have
    refused."""
    steps = Counter(call.session for call in same)
    done: Counter[str | None] = Counter()
    until, before = 0.0, None
    for call in same:
        done[call.session] += 1
        if before is None or call.time >= until:
            until = call.time + _LIFE
        else:
            own, cost = call.user == before.user, call.cost
            if call.session is not None and steps[call.session] > _LOOP + 1:
                cause, cost = "loop", cost if done[call.session] > _LOOP else 0
            elif call.time < before.time + before.latency:
                cause = "burst"
            else:
                cause = "again" if own else "others"
            yield call, cause, cost, own
        before = call


def _finding(
    source: Source, endpoint: str | None, kind: str, calls: int, money: tuple[int, int, int], *, by_one: bool
) -> Finding:
    condition, values = is_endpoint(endpoint)
    least, by = (_LOOP, "session_id") if kind == "loop" else (1, "NULL")
    evidence = source.query(
        f"SELECT fingerprint, {by}, COUNT(*), SUM(cost_nanos), COUNT(DISTINCT user_id) FROM {TABLE} WHERE {SPAN} AND "
        f"outcome = 'miss' AND {condition} GROUP BY fingerprint{', session_id' if kind == 'loop' else ''} "
        f"HAVING COUNT(*) > {least} ORDER BY 4 DESC, 1",
        *values,
    )
    confidence: Confidence = "high"
    how = "the sum of what a cache whose answers live for a day would have answered; interval from the days"
    lines: tuple[PolicyLine, ...] = at_endpoint(endpoint, "cache", '{ ttl = "1d" }')
    code = "give the model a cache: GuardedChatModel(model, guard, cache=ExactCache(policy=guard.cache_policy))"
    name, risk = "repeats", "an answer is up to a day old; not for prompts whose answer depends on the moment"
    if kind == "again":
        text = f"{calls:,} calls asked what had been paid within the day before"
        if source.hits.get(endpoint):
            confidence, text = "medium", f"{text}, although answers are cached here: their life is too short"
    elif kind == "burst":
        name, risk = "burst", "none for equal requests; several samples of one prompt on purpose would become one"
        text = f"{calls:,} calls asked what an equal call was just being paid for: they can share its answer"
        if by_one:
            confidence, text = "medium", f"{text}. Most are of the same user, as samples on purpose are"
        lines = at_endpoint(endpoint, "cache", '{ ttl = "5m" }')
    elif kind == "others":
        name, confidence = "scope", "medium"
        risk = "answers that depend on who asks would be shared: look at the prompts of these fingerprints first"
        text = f"{calls:,} calls asked what had been paid for another user, whose answer the scope of the cache hides"
        lines, code = at_endpoint(endpoint, "cache", '{ scope = ["tenant"] }'), ""
    else:
        name, risk = "loop", "a session that repeats a step on purpose, such as polling, is stopped"
        how = f"the sum of the steps beyond {_LOOP} in a session; interval from the days"
        text = f"{calls:,} calls repeat a step of their own session more than {_LOOP} times"
        lines, code = (PolicyLine((), "loops", str(_LOOP)),), ""
    return source.finding(
        name, endpoint, text, money, how=how, confidence=confidence, risk=risk, evidence=evidence,
        columns=_COLUMNS, lines=lines, code=code, calls=calls,
    )  # fmt: skip
