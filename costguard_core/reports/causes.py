"""What looks like a mistake in the calls of a period: prompts that repeat in a conversation, and long documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from heapq import nlargest
from math import nextafter

from costguard_core.ledger import Ledger
from costguard_core.ledger.columns import TABLE
from costguard_core.ledger.database import Database, Reader
from costguard_core.ledger.sessions import BOUNDS, LENGTHS, SENT, key_of, session_of
from costguard_core.ledger.sessions import TABLE as SESSIONS
from costguard_core.reports.plan import Piece
from costguard_core.reports.queries import Where, call_condition, pieces_of_sessions, read_dearest
from costguard_core.util.text import value_text

_LOOP = 5  # calls with one prompt in one conversation
_MOST_SESSIONS = 1_000  # the dearest: a loop in a cheaper one is not why a bill changed
_LONG = 5  # times the mean prompt of the period before, up to the next length by which prompts are classed
_NAMES = 400  # sessions, or spans of time, in one statement
_MOST_SPANS = 2_000  # of time in which calls are looked at


@dataclass(frozen=True, slots=True)
class Cause:
    """Something in the later period that costs money and may be a mistake.

    Attributes:
        kind: ``"loop"``, ``"long documents"``, ``"new template"``, ``"lost prompt caching"`` or ``"retries"``.
        text: what was seen, in one line.
        cost: what it cost in the later period, nano-dollars.
    """

    kind: str
    text: str
    cost: int


def found_in_calls(
    ledger: Ledger, period: tuple[float, float], mean_prompt: Fraction | None, where: Where
) -> Iterator[Cause]:
    """Loops in the dearest sessions, and long documents.

    Single calls are read only of the times in which these sessions were, as far as sessions are rolled up.

    Args:
        ledger: what was recorded.
        period: from and up to, unix seconds.
        mean_prompt: tokens of a prompt on average in the period before; ``None``: nothing is long.
        where: only calls with these values.

    Raises:
        CostGuardError: the ledger cannot be read.
    """
    costs = read_dearest(ledger, "session", _MOST_SESSIONS, start=period[0], end=period[1], where=where, calls=_LOOP)
    names = list(costs)
    bound = next((most for most in BOUNDS if most >= _LONG * mean_prompt), None) if mean_prompt else None
    repeated: dict[tuple[str, str], tuple[int, int]] = {}
    long: dict[str | None, tuple[int, int]] = {}
    with ledger.reading() as database, database.snapshot() as reader:
        pieces = pieces_of_sessions(ledger, database, reader, where, *period)
        last = nextafter(period[1], period[0])  # of a span, both ends are in it
        spans = [(piece.start, min(piece.end, last)) for piece in pieces if piece.cube is None]
        for piece in pieces:
            if piece.cube is not None:
                found = _read_spans(reader, names, piece)
                spans += ((max(began, period[0]), min(ended, last)) for began, ended in found)
            if bound is not None:
                for endpoint, calls, cost in _long_prompts(database, reader, bound, where, piece):
                    before = long.get(endpoint, (0, 0))
                    long[endpoint] = before[0] + calls, before[1] + cost
        if names and spans:
            for session, fingerprint, cost in _calls_of(database, reader, names, _merged(spans), where):
                calls, spent = repeated.get((session, fingerprint), (0, 0))
                repeated[session, fingerprint] = calls + 1, spent + cost
    loops = ((cost, calls, session) for (session, _), (calls, cost) in repeated.items() if calls >= _LOOP)
    for cost, calls, session in nlargest(3, loops):
        yield Cause("loop", f"Loop: one prompt {calls:,} times in the conversation {session}", cost)
    if long:
        endpoint, (calls, cost) = max(long.items(), key=lambda item: (item[1][1], str(item[0])))
        text = f"Long documents: {calls:,} prompts of more than {bound:,} tokens at {value_text(endpoint)}"
        yield Cause("long documents", text, cost)


def _read_spans(reader: Reader, names: Sequence[str], piece: Piece) -> Iterator[tuple[float, float]]:
    """When sessions were, on each day of a piece."""
    for start in range(0, len(names), _NAMES):
        keys = [key_of(name) for name in names[start : start + _NAMES]]
        sql = f"SELECT began, ended FROM {SESSIONS} WHERE session IN ({', '.join('?' * len(keys))})"
        for began, ended in reader.rows(sql, keys):
            if piece.start <= ended and began <= piece.end:
                yield began, ended


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The spans in order, those together that overlap, and so many that are near to each other that few are left."""
    gap = 0.0
    while True:
        found: list[tuple[float, float]] = []
        for began, ended in sorted(spans):
            if found and began <= found[-1][1] + gap:
                found[-1] = found[-1][0], max(ended, found[-1][1])
            else:
                found.append((began, ended))
        if len(found) <= _MOST_SPANS:
            return found
        spans, gap = found, 2 * gap + 60.0


def _calls_of(
    database: Database,
    reader: Reader,
    names: Sequence[str],
    spans: Sequence[tuple[float, float]],
    where: Where,
) -> Iterator[tuple[str, str, int]]:
    """Session, fingerprint and nano-dollars of each call of some sessions that was sent, within spans of time."""
    condition, values = call_condition(database, where)  # without a time: the index is for that of the spans
    for start in range(0, len(spans), _NAMES):
        part = spans[start : start + _NAMES]
        times = ", ".join(["(?, ?)"] * len(part))
        sql = (
            f"WITH spans (began, ended) AS (VALUES {times}) "
            f"SELECT session_id, fingerprint, COALESCE(cost_nanos, 0) FROM spans CROSS JOIN {TABLE} "
            f"WHERE time >= began AND time <= ended AND {condition} AND fingerprint IS NOT NULL "
            f"AND outcome IN {SENT!r} AND session_id IN ({', '.join('?' * len(names))})"
        )
        yield from reader.rows(sql, (*(moment for span in part for moment in span), *values, *names))


def _long_prompts(
    database: Database, reader: Reader, bound: int, where: Where, piece: Piece
) -> Iterator[tuple[str | None, int, int]]:
    """By endpoint the calls that were sent with a longer prompt, and their nano-dollars."""
    if piece.cube is not None:
        sql = (
            f"SELECT endpoint, CAST(SUM(calls) AS BIGINT), CAST(SUM(cost_nanos) AS BIGINT) FROM {LENGTHS} "
            f"WHERE period >= ? AND period < ? AND length > ? GROUP BY 1"
        )
        for endpoint, calls, cost in reader.rows(sql, (piece.start, piece.end, BOUNDS.index(bound))):
            if calls:
                yield session_of(endpoint), calls, cost
        return
    condition, values = call_condition(database, where, since=piece.start, until=piece.end)
    sql = (
        f"SELECT endpoint, COUNT(*), CAST(COALESCE(SUM(cost_nanos), 0) AS BIGINT) FROM {TABLE} "
        f"WHERE {condition} AND outcome IN {SENT!r} AND input_tokens > ? GROUP BY 1"
    )
    yield from reader.rows(sql, (*values, bound))
