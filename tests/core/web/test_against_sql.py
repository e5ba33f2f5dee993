"""Every number on the page, and in its CSV files, is the one that SQL over single calls has."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import html
import io
import json
import math
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from waiting import SAFETY_LIMIT

from costguard_core.ledger import Ledger, open_ledger
from costguard_core.reports.queries import make_report
from costguard_core.types import Attribution, Event, Outcome, Usage
from costguard_core.web.app import Page, count, create_page, dollars, percent, shown, signed

NOW = 1_800_000_000.0
DAY = 86_400.0
DAYS = {"24h": 1, "7d": 7, "30d": 30}
SETTINGS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# What a report can be asked for, and the column that has it.
COLUMNS = {
    "model": "model",
    "user": "user_id",
    "tenant": "tenant",
    "session": "session_id",
    "endpoint": "endpoint",
    "feature": "feature",
    "template": "template",
    "provider": "provider",
    "tier": "tier",
    "kind": "kind",
    "outcome": "outcome",
    "reason": "reason",
    "priced_by": "priced_by",
    "price_source": "price_source",
    "requested_model": "requested_model",
    "answered_model": "answered_model",
    "host": "host",
    "account": "account",
    "request_id": "request_id",
    "fingerprint": "fingerprint",
}
BY = [*COLUMNS, "plan", "team-name"]
PAID = "(outcome = 'miss' OR (outcome IN ('error', 'abandoned') AND (cost_nanos IS NULL OR cost_nanos <> 0)))"
HIT = "outcome IN ('exact', 'semantic', 'coalesced')"
SUMS = {
    "calls": "TRUE",
    "paid": PAID,
    "answered": f"(outcome = 'miss' OR {HIT})",
    "hits": HIT,
    "refused": "outcome = 'refused'",
    "errors": "outcome = 'error'",
    "abandoned": "outcome = 'abandoned'",
    "unpriced": "cost_nanos IS NULL",
    "estimated": f"(estimated AND {PAID})",
    "exact": "outcome = 'exact'",
    "semantic": "outcome = 'semantic'",
    "coalesced": "outcome = 'coalesced'",
    "partly_priced": "unpriced IS NOT NULL",
}
AMOUNTS = {
    "spend_usd": ("cost_nanos", "TRUE"),
    "saved_usd": ("saved_nanos", "TRUE"),
    "saved_exact_usd": ("saved_nanos", "outcome = 'exact'"),
    "saved_semantic_usd": ("saved_nanos", "outcome = 'semantic'"),
    "saved_coalesced_usd": ("saved_nanos", "outcome = 'coalesced'"),
    "saved_routing_usd": ("saved_nanos", f"NOT ({HIT})"),
    **{
        name: (name, PAID)
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
    },
}


class Sql:
    """Questions to the table of single calls, in SQLite or Postgres, with nothing of Costguard's own."""

    def __init__(self, url: str) -> None:
        self._url = url

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if self._url.startswith("sqlite:///"):
            with closing(sqlite3.connect(self._url.removeprefix("sqlite:///"))) as connection:
                return connection.execute(sql).fetchall()
        import psycopg

        with psycopg.connect(self._url) as server:
            return server.execute(sql.encode()).fetchall()

    def column(self, name: str) -> str:
        if name in COLUMNS:
            return COLUMNS[name]
        return f"json_extract(tags, '$.\"{name}\"')" if self._url.startswith("sqlite") else f"tags::json ->> '{name}'"

    def condition(self, where: dict[str, str], since: float, until: float = NOW + 1) -> str:
        chosen = [f"{self.column(name)} = '{value}'" for name, value in where.items()]
        return " AND ".join([f"time >= {since!r}", f"time < {until!r}", *chosen])

    def groups(self, by: tuple[str, ...], condition: str) -> dict[tuple[str | None, ...], dict[str, int]]:
        counts = [f"COUNT(CASE WHEN {test} THEN 1 END)" for test in SUMS.values()]
        amounts = [f"SUM(CASE WHEN {test} THEN COALESCE({name}, 0) ELSE 0 END)" for name, test in AMOUNTS.values()]
        keys = [self.column(name) for name in by]
        group = f" GROUP BY {', '.join(str(place + 1) for place in range(len(keys)))}" if keys else ""
        sql = f"SELECT {', '.join([*keys, *counts, *amounts])} FROM costguard_events WHERE {condition}{group}"
        return {
            row[: len(by)]: dict(zip((*SUMS, *AMOUNTS), [int(n or 0) for n in row[len(by) :]], strict=True))
            for row in self.rows(sql)
        }

    def total(self, condition: str) -> dict[str, int]:
        (found,) = self.groups((), condition).values()
        return found

    def latency(self, condition: str, share: float) -> float | None:
        """The percentile by nearest rank, of answered calls."""
        sql = f"SELECT latency FROM costguard_events WHERE {condition} AND {SUMS['answered']} ORDER BY latency"
        found = [latency for (latency,) in self.rows(sql)]
        return found[math.ceil(share * len(found)) - 1] if found else None


class Case(NamedTuple):
    """A ledger that was lived through, and what is asked of it."""

    events: list[Event]
    corrections: list[Event]
    rolled: int
    by: str
    range: str
    where: dict[str, str]


NAMES = st.sampled_from([None, "a", "b", "<b>c</b>"])


@st.composite
def events(draw: st.DrawFn) -> Event:
    outcome = draw(st.sampled_from([*[Outcome.MISS] * 5, *Outcome]))
    tokens = st.integers(0, 9_000)
    hit = outcome in (Outcome.EXACT, Outcome.SEMANTIC, Outcome.COALESCED)
    billed = st.one_of(st.none(), st.just(0), st.integers(1, 10**13))
    cost = {Outcome.REFUSED: st.just(0)}.get(outcome, st.just(0) if hit else billed)
    return Event(
        id=f"e{draw(st.integers(0, 10**9))}",
        time=NOW - draw(st.integers(0, 62 * 96)) * 900.0 - draw(st.sampled_from([0.0, 0.25, 899.0])),
        outcome=outcome,
        model=draw(st.sampled_from(["gpt-4o", "claude", "my-own"])),
        provider=draw(st.sampled_from([None, "openai"])),
        attribution=Attribution(
            user=draw(NAMES),
            tenant=draw(NAMES),
            session=draw(NAMES),
            endpoint=draw(NAMES),
            feature=draw(NAMES),
            template=draw(NAMES),
            tags=tuple((name, value) for name in ("plan", "team-name") if (value := draw(NAMES)) is not None),
        ),
        usage=Usage(
            input_tokens=draw(tokens),
            output_tokens=draw(tokens),
            cache_read_tokens=draw(tokens),
            cache_write_tokens=draw(tokens),
            reasoning_tokens=draw(tokens),
            tier=draw(st.sampled_from([None, "batch"])),
        ),
        cost=draw(cost),
        saved=draw(st.integers(0, 10**12)) if hit else draw(st.sampled_from([0, 0, 5_000, -5_000])),
        estimated=draw(st.booleans()),
        latency=draw(st.floats(0.001, 600)),
        reason="$25/day per user" if outcome is Outcome.REFUSED else draw(st.sampled_from([None, "TimeoutError"])),
        priced_by=draw(st.sampled_from([None, "list", "estimate"])),
        unpriced=draw(st.sampled_from([(), (), ("page",)])),
        fingerprint=draw(st.sampled_from([None, "f1", "f2"])),
        requested_model=draw(st.sampled_from([None, "auto"])),
        host=draw(st.sampled_from([None, "api.example.com"])),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    given = draw(st.lists(events(), min_size=1, max_size=40, unique_by=lambda event: event.id))
    others = draw(st.lists(st.tuples(st.sampled_from(given), events()), max_size=5))
    return Case(
        events=given,
        corrections=[dataclasses.replace(new, id=old.id, time=old.time) for old, new in others],
        rolled=draw(st.integers(0, 60)),
        by=draw(st.sampled_from(BY)),
        range=draw(st.sampled_from(list(DAYS))),
        where=draw(
            st.sampled_from([{}, {}, {"endpoint": "a"}, {"plan": "b"}, {"outcome": "miss"}, {"user": "a", "plan": "a"}])
        ),
    )


@contextmanager
def lived_through(url: str, case: Case) -> Iterator[Ledger]:
    """A ledger in which the calls were recorded, some of them rolled up, and some corrected afterwards."""
    with open_ledger(url, interval=0.0, clock=lambda: NOW + 1) as ledger:
        for event in case.events:
            ledger.append(event)
        assert ledger.flush(SAFETY_LIMIT)
        ledger.roll_up(most=case.rolled, few=1)
        for event in case.corrections:
            ledger.replace([event])
        yield ledger


def read(ledger: Ledger, *addresses: str) -> list[str]:
    """What the page answers at some addresses."""
    app = create_page(Page(ledger, clock=lambda: NOW + 1))

    async def ask() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://page") as browser:
            answers = [await browser.get(address) for address in addresses]
        assert [answer.status_code for answer in answers] == [200] * len(addresses)
        return [answer.text for answer in answers]

    return asyncio.run(ask())


def cells(row: str) -> list[str]:
    """The text of each cell of a table's row."""
    found = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in found]


def tile(text: str, name: str) -> tuple[str, str]:
    """The figure of a tile, and what is noted below it."""
    found = re.search(rf"<h2>{name}</h2><p class=\"figure\">([^<]*)</p>\s*<p class=\"note\">(.*?)</p>", text, re.DOTALL)
    assert found is not None
    return found[1], html.unescape(re.sub(r"<[^>]+>", "", found[2]))


def listed(text: str, heading: str) -> dict[str, str]:
    """The pairs of the list below a heading."""
    section = text.partition(f"<h2>{heading}</h2>")[2].partition("</section>")[0]
    found = re.findall(r"<dt>(.*?)</dt><dd class=\"n\">(.*?)</dd>", section)
    return {html.unescape(name): html.unescape(figure) for name, figure in found}


def rate(part: int, whole: int) -> str:
    return percent(part / whole if whole else 0.0)


def check_overview(sql: Sql, case: Case, text: str) -> None:
    length = DAYS[case.range] * DAY
    condition = sql.condition(case.where, NOW + 1 - length)
    whole = sql.total(condition)
    if not whole["calls"]:
        assert "No calls" in text
        return
    before = sql.total(sql.condition(case.where, NOW + 1 - 2 * length, NOW + 1 - length))
    spent = dollars(whole["spend_usd"])
    assert f"<title>{html.escape(spent)} in" in text
    figure, note = tile(text, "Spent")
    assert html.unescape(figure) == spent
    if before["spend_usd"]:
        change = Decimal(whole["spend_usd"] - before["spend_usd"]) / before["spend_usd"]
        assert note.startswith(f"{'+' if change >= 0 else ''}{percent(change)} against")
    else:
        assert note.startswith("nothing in the")
    assert tile(text, "Saved")[0] == html.escape(dollars(whole["saved_usd"]))
    hits = rate(whole["hits"], whole["answered"])
    assert tile(text, "Calls") == (
        count(whole["calls"]),
        f"{count(whole['paid'])} paid, {count(whole['hits'])} from a cache ({hits})",
    )
    assert tile(text, "Refused") == (
        count(whole["refused"]),
        f"{count(whole['errors'])} errors, {count(whole['abandoned'])} abandoned",
    )
    check_table(sql, case, text, condition, whole)
    check_chart(sql, case, text, condition)
    causes = {
        "the same request again": whole["saved_exact_usd"],
        "the same request at the same time": whole["saved_coalesced_usd"],
        "the same question in other words": whole["saved_semantic_usd"],
        "a cheaper model was enough": whole["saved_routing_usd"],
    }
    assert listed(text, "What saved") == {cause: dollars(nanos) for cause, nanos in causes.items() if nanos}
    reasons = sql.groups(("reason",), f"{condition} AND outcome = 'refused'")
    assert listed(text, "What is refused") == {str(key[0]): count(row["calls"]) for key, row in reasons.items()}
    unknown = {key[0]: row["unpriced"] for key, row in sql.groups(("model",), condition).items() if row["unpriced"]}
    banner = re.findall(r"([\w-]+) \((\d+) calls?\)", text.partition("These sums are too low")[2].partition("</p>")[0])
    assert {name: int(calls) for name, calls in banner} == unknown


def check_table(sql: Sql, case: Case, text: str, condition: str, whole: dict[str, int]) -> None:
    groups = sql.groups((case.by,), condition)
    rows = [cells(row) for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", text, re.DOTALL)]
    *rows, total = rows
    assert len(rows) == min(25, len(groups))
    named = {shown(key[0]): (key[0], row) for key, row in groups.items()}
    for name, spent, share, calls, hits, saved, p95 in rows:
        value, row = named[name]
        known = dollars(row["spend_usd"]) + ("+?" if row["unpriced"] else "")
        assert spent == ("unknown" if row["unpriced"] and not row["spend_usd"] else known)
        assert share == percent(row["spend_usd"] / whole["spend_usd"] if whole["spend_usd"] else 0)
        assert (calls, saved) == (count(row["calls"]), dollars(row["saved_usd"]))
        assert hits == rate(row["hits"], row["answered"])
        column = sql.column(case.by)
        mine = f"{column} IS NULL" if value is None else f"{column} = '{value}'"
        check_latency(p95, sql.latency(f"{condition} AND {mine}", 0.95))
    assert total[:2] == ["All", dollars(whole["spend_usd"])]
    assert total[3:6] == [
        count(whole["calls"]),
        rate(whole["hits"], whole["answered"]),
        dollars(whole["saved_usd"]),
    ]


def check_latency(written: str, exact: float | None) -> None:
    """Percentiles are within two percent, and are written with one digit."""
    if exact is None:
        assert written == "–"
    else:
        assert abs(float(written.removesuffix(" s")) - exact) <= 0.0201 * exact + 0.0501


def check_chart(sql: Sql, case: Case, text: str, condition: str) -> None:
    found = re.search(r'data-chart="([^"]+)"', text)
    assert found is not None
    chart = json.loads(html.unescape(found[1]))
    seconds = 3_600 if chart["unit"] == "hour" else 86_400
    column = sql.column(case.by)
    period = f"CAST(time / {seconds} AS INTEGER)" if "sqlite" in sql._url else f"FLOOR(time / {seconds})"
    expected: dict[tuple[str | None, int], int] = {}
    query = f"SELECT {column}, {period}, SUM(cost_nanos) FROM costguard_events WHERE {condition} GROUP BY 1, 2"
    for name, number, cost in sql.rows(query):
        expected[name, int(number)] = int(cost or 0)
    first = int((NOW + 1 - DAYS[case.range] * DAY) // seconds)
    drawn = {line["name"]: line["values"] for line in chart["series"]}
    rest = drawn.pop("all others", [0.0] * len(chart["labels"]))
    for place in range(len(chart["labels"])):
        left = sum(cost for (_, number), cost in expected.items() if number == first + place)
        for name, values in drawn.items():
            cost = expected.get((None if name == "(none)" else name, first + place), 0)
            assert values[place] == cost / 1e9
            left -= cost
        assert rest[place] == pytest.approx(left / 1e9, abs=1e-9)


def check_csv(sql: Sql, by: tuple[str, ...], text: str, condition: str) -> None:
    groups = sql.groups(by, condition)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(groups)
    for row in rows:
        expected = groups[tuple(row[name] or None for name in by)]
        for name in SUMS:
            assert int(row[name]) == expected[name], name
        for name in AMOUNTS:
            value = Decimal(row[name]) * (10**9 if name.endswith("_usd") else 1)
            assert value == expected[name], name
        hit_rate = expected["hits"] / expected["answered"] if expected["answered"] else 0.0
        assert float(row["hit_rate"]) == round(hit_rate, 4)


def check_explanation(sql: Sql, case: Case, text: str) -> None:
    length = DAYS[case.range] * DAY
    spans = [(NOW + 1 - 2 * length, NOW + 1 - length), (NOW + 1 - length, NOW + 1)]
    conditions = [sql.condition(case.where, *span) for span in spans]
    before, after = (sql.total(condition) for condition in conditions)
    difference = after["spend_usd"] - before["spend_usd"]
    spent = [html.escape(dollars(period["spend_usd"])) for period in (before, after)]
    assert f"<strong>{spent[0]}</strong>, then <strong>{spent[1]}</strong>: {html.escape(signed(difference))}." in text
    lines = re.findall(r"<div><dt>([\w-]+)</dt><dd>\n(.*?)</dd></div>", text, re.DOTALL)
    for dimension, values in lines:
        then, now = (sql.groups((dimension,), condition) for condition in conditions)
        by_name = {
            shown(key[0]): now.get(key, {}).get("spend_usd", 0) - then.get(key, {}).get("spend_usd", 0)
            for key in {*then, *now}
        }
        left = difference
        for line in values.strip().splitlines():
            for name, figure in re.findall(
                r"<span class=\"line[^>]*><span>(.*?)</span><span class=\"n[^>]*>(.*?)<", line
            ):
                written = html.unescape(re.sub(r"<[^>]+>", "", name))
                if written == "all others":
                    assert html.unescape(figure) == signed(left)
                else:
                    assert html.unescape(figure) == signed(by_name[written])
                    left -= by_name[written]
    unknown = before["unpriced"] + after["unpriced"]
    assert (f"{count(unknown)} call" in text) is bool(unknown)


def check_changes(sql: Sql, case: Case, text: str) -> None:
    """The factors add up to the difference to the nano-dollar, and so do the values of each dimension."""
    length = DAYS[case.range] * DAY
    spans = [(NOW + 1 - 2 * length, NOW + 1 - length), (NOW + 1 - length, NOW + 1)]
    before, after = (sql.total(sql.condition(case.where, *span))["spend_usd"] for span in spans)
    sums: dict[str, Decimal] = {}
    for row in csv.DictReader(io.StringIO(text)):
        sums[row["by"]] = sums.get(row["by"], Decimal(0)) + Decimal(row["difference_usd"])
    causes = {name for name in sums if name.startswith("cause: ")}
    assert {name: nanos * 10**9 for name, nanos in sums.items() if name not in causes} == dict.fromkeys(
        sums.keys() - causes, after - before
    )


def check_outcomes(sql: Sql, case: Case, text: str) -> None:
    """Active users are those who made a call, and what is theirs is what is spent with a name."""
    condition = sql.condition(case.where, NOW + 1 - DAYS[case.range] * DAY)
    users = {key[0]: row for key, row in sql.groups(("user",), condition).items()}
    (row,) = csv.DictReader(io.StringIO(text))
    named = {name: row["spend_usd"] for name, row in users.items() if name is not None}
    assert int(row["outcomes"]) == len(named)
    assert Decimal(row["attributed_usd"]) * 10**9 == sum(named.values())
    assert Decimal(row["unattributed_usd"]) * 10**9 == users.get(None, {"spend_usd": 0})["spend_usd"]
    assert int(row["unpriced"]) == sum(row["unpriced"] for row in users.values())


def check_calls(sql: Sql, case: Case, text: str) -> None:
    condition = sql.condition(case.where, NOW + 1 - DAYS[case.range] * DAY)
    rows = [cells(row) for row in re.findall(r"<tr><td class=\"mono\">.*?</tr>", text, re.DOTALL)]
    costs = sql.rows(f"SELECT cost_nanos, input_tokens, output_tokens FROM costguard_events WHERE {condition}")
    expected = sorted(
        ("unknown" if cost is None else dollars(cost), count(asked), count(answered)) for cost, asked, answered in costs
    )
    assert sorted((row[7], row[5], row[6]) for row in rows) == expected


def check_page(url: str, case: Case) -> None:
    sql = Sql(url)
    with lived_through(url, case) as ledger:
        query = urlencode({"range": case.range, "by": case.by, **case.where})
        overview, table, explanation, calls, month = read(
            ledger, f"/?{query}", f"/rows.csv?{query}", f"/explain?{query}", f"/calls?{query}", "/forecast"
        )
        changes, outcomes = read(ledger, f"/changes.csv?{query}", f"/economics.csv?{query}")
        check_overview(sql, case, overview)
        check_csv(sql, (case.by,), table, sql.condition(case.where, NOW + 1 - DAYS[case.range] * DAY))
        check_explanation(sql, case, explanation)
        check_calls(sql, case, calls)
        check_changes(sql, case, changes)
        check_outcomes(sql, case, outcomes)
        # 1,800,000,000 is in January 2027.
        spent = sql.total(sql.condition({}, 1_798_761_600.0))["spend_usd"]
        assert f'Spent so far</dt><dd class="n">{html.escape(dollars(spent))}' in month


def check_report(url: str, case: Case, by: tuple[str, ...]) -> None:
    sql = Sql(url)
    with lived_through(url, case) as ledger:
        since = NOW + 1 - DAYS[case.range] * DAY
        report = make_report(ledger, by, since=since, where=case.where)
        condition = sql.condition(case.where, since)
        check_csv(sql, by, report.to_csv(), condition)
        total = sql.total(condition)
        assert (report.total.cost, report.total.calls) == (total["spend_usd"], total["calls"])


@pytest.mark.slow
@SETTINGS
@given(cases())
def test_every_number_of_the_page_is_that_of_sql(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    check_page(f"sqlite:///{tmp_path_factory.mktemp('page')}/l.db", case)


@pytest.mark.slow
@SETTINGS
@given(cases(), st.lists(st.sampled_from(BY), min_size=1, max_size=3, unique=True).map(tuple))
def test_every_number_of_a_report_is_that_of_sql(
    tmp_path_factory: pytest.TempPathFactory, case: Case, by: tuple[str, ...]
) -> None:
    check_report(f"sqlite:///{tmp_path_factory.mktemp('report')}/l.db", case, by)


@pytest.mark.slow
@settings(SETTINGS, max_examples=1, phases=[Phase.generate])
@given(cases(), st.sampled_from(BY))
def test_so_it_is_in_postgres(postgres_db: str, case: Case, other: str) -> None:
    check_page(postgres_db, case)
    check_report(
        postgres_db, case._replace(events=[], corrections=[]), (case.by, other) if other != case.by else (other,)
    )
