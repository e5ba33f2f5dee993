"""How long reports take over a large ledger, against one plain SQL sum over the same events.

    python benchmarks/reports.py --events 1000000
    python benchmarks/reports.py --events 10000000 --ledger big.db   # made once, kept and used again
    python benchmarks/reports.py --page                              # the page of "costguard serve" instead

The events are 90 days of calls of 1,000 users (Zipf), each of one of 2 plans, at 7 endpoints, each with a template and
a model of its own, which one call in ten falls back from. "plain SQL" is
``SELECT columns, SUM(cost_nanos) ... WHERE conditions GROUP BY columns`` over the events, with the columns and
conditions of the report. All in seconds of CPU of this process, best of three, with the file in the page cache.
"roll-up" is microseconds of CPU per event until all are rolled up.

With ``--page``: milliseconds until the first byte of the page over HTTP, from uvicorn in a thread, and of CPU of this
process, which is client and server; best of five.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

from costguard_core.ledger import Ledger, open_ledger
from costguard_core.ledger.columns import NAMES, TABLE, to_row
from costguard_core.ledger.ledger import open_database
from costguard_core.ledger.migrations import migrate
from costguard_core.reports.queries import make_report
from costguard_core.types import Attribution, Event, Outcome, Usage

START, DAYS = 1_780_012_800.0, 90
END = START + DAYS * 86_400
QUESTIONS: dict[str, dict[str, Any]] = {
    "model": {"by": "model"},
    "user": {"by": "user"},
    "endpoint": {"by": "endpoint"},
    "day": {"by": "day"},
    "day in New York": {"by": "day", "timezone": "America/New_York"},
    "plan (a tag)": {"by": "plan"},
    "endpoint, model": {"by": ["endpoint", "model"]},
    "user, model": {"by": ["user", "model"]},
    "user, of one plan": {"by": "user", "where": {"plan": "free"}},
    "model, last 7 days": {"by": "model", "since": START + (DAYS - 7) * 86_400 + 1234},
    "user, last 7 days": {"by": "user", "since": START + (DAYS - 7) * 86_400 + 1234},
    "session": {"by": "session", "limit": 100},
}
PAGES = {
    f"{by}, {days}": f"/?range={days}&by={by}"
    for by in ("model", "plan", "user", "session")
    for days in ("24h", "7d", "30d")
}
PAGES |= {"user, 7d, one endpoint": "/?range=7d&by=user&endpoint=/e1"}
PAGES |= {f"what changed, {days}": f"/explain?range={days}&part=1" for days in ("24h", "7d", "30d")}
COLUMNS = {
    "session": "session_id",
    "user": "user_id",
    "plan": "json_extract(tags, '$.plan')",
    "day": "CAST(time / 86400 AS INTEGER)",
}


def events(count: int) -> Iterator[Event]:
    chance = random.Random(7)
    users = [f"user-{n}" for n in range(1_000)]
    drawn = iter(chance.choices(users, [1 / (n + 1) for n in range(1_000)], k=count))
    outcomes = [Outcome.MISS] * 14 + [Outcome.EXACT] * 3 + [Outcome.SEMANTIC, Outcome.REFUSED, Outcome.ERROR]
    models = (("gpt-5-mini", "openai"), ("gpt-5", "openai"), ("claude-sonnet-4-5", "anthropic"))
    for number in range(count):
        outcome, endpoint, user = chance.choice(outcomes), chance.randrange(7), next(drawn)
        model, provider = models[(endpoint + (chance.random() < 0.1)) % 3]
        tokens, answer = chance.randrange(200, 4_000), chance.randrange(20, 800)
        yield Event(
            id=f"{number:016x}",
            time=START + number * DAYS * 86_400 / count,
            outcome=outcome,
            model=model,
            provider=provider,
            attribution=Attribution(
                user=user,
                session=f"s{number // 12}",
                endpoint=f"/e{endpoint}",
                template=f"t{endpoint}",
                tags=(("plan", "free" if int(user[5:]) % 3 else "pro"),),
            ),
            usage=Usage(input_tokens=tokens, output_tokens=answer, cache_read_tokens=tokens // 2),
            cost=tokens * 250 + answer * 2_000 if outcome is Outcome.MISS else 0,
            saved=1_000 if outcome is Outcome.EXACT else 0,
            latency=chance.lognormvariate(0, 1),
            priced_by="list",
            requested_model=model,
            answered_model=model,
            host="api.example.com",
        )


def make(path: Path, count: int) -> float:
    """A ledger with so many events, rolled up; returns microseconds of CPU per event for the latter."""
    database = open_database(f"sqlite:///{path}")
    migrate(database)
    marks = ", ".join(["?"] * len(NAMES))
    with database.transaction() as connection:
        connection.cursor().executemany(
            f"INSERT INTO {TABLE} ({', '.join(NAMES)}) VALUES ({marks})",
            (to_row(event) for event in events(count)),  # type: ignore[arg-type]
        )
    database.close()
    started = process_time()
    with open_ledger(f"sqlite:///{path}", clock=lambda: END) as ledger:
        while ledger.roll_up(few=1):
            pass
    return (process_time() - started) / count * 1e6


def best(work: Callable[[], object]) -> float:
    """Seconds of CPU, the best of three."""
    found = []
    for _ in range(3):
        started = process_time()
        work()
        found.append(process_time() - started)
    return min(found)


def plain_sql(
    by: str | list[str],
    *,
    where: dict[str, str] | None = None,
    since: float | None = None,
    limit: int | None = None,
    timezone: str | None = None,
) -> str:
    """The sum of costs that somebody would write for the same columns, conditions and span; days are UTC's."""
    names = [COLUMNS.get(name, name) for name in ([by] if isinstance(by, str) else by)]
    places = ", ".join(str(place) for place in range(1, len(names) + 1))
    conditions = [f"{COLUMNS.get(name, name)} = '{value}'" for name, value in (where or {}).items()]
    conditions += [] if since is None else [f"time >= {since}"]
    sql = f"SELECT {', '.join(names)}, SUM(cost_nanos) FROM {TABLE} WHERE {' AND '.join(conditions) or 'TRUE'}"
    sql += f" GROUP BY {places}"
    return sql if limit is None else f"{sql} ORDER BY SUM(cost_nanos) DESC LIMIT {limit}"


def measure(path: Path, ledger: Ledger) -> list[dict[str, Any]]:
    rows = []
    with closing(sqlite3.connect(path)) as connection:
        for name, question in QUESTIONS.items():
            sql = plain_sql(**question)
            seconds = best(lambda question=question: make_report(ledger, **question))  # type: ignore[misc]
            against = best(lambda sql=sql: connection.execute(sql).fetchall())  # type: ignore[misc]
            rows.append({"by": name, "report": round(seconds, 3), "plain_sql": round(against, 3)})
    return rows


@contextmanager
def serving(path: Path) -> Iterator[int]:
    """The page over a ledger; the port."""
    import uvicorn

    from costguard_core.web.app import Page, create_page

    page = Page(open_ledger(f"sqlite:///{path}", read_only=True, clock=lambda: END), clock=lambda: END)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_page(page), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        sleep(0.01)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def measure_page(path: Path) -> list[dict[str, Any]]:
    rows = []
    with serving(path) as port:
        for name, address in PAGES.items():
            waits, work = [], []
            for _ in range(5):
                connection = HTTPConnection("127.0.0.1", port)
                connection.connect()
                started, worked = perf_counter(), process_time()
                connection.request("GET", address)
                answer = connection.getresponse()
                answer.read(1)
                waits.append(perf_counter() - started)
                work.append(process_time() - worked)
                if answer.status != 200:
                    raise SystemExit(f"{address}: {answer.status} {answer.read()!r}")
                connection.close()
            rows.append({"page": name, "first_byte_ms": round(min(waits) * 1e3), "cpu_ms": round(min(work) * 1e3)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--ledger", type=Path, help="a file to keep the events in, and to use again")
    parser.add_argument("--page", action="store_true", help="measure the page instead of reports")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = options.ledger or Path(name) / "ledger.db"
        rolled = None if path.exists() else make(path, options.events)
        if options.page:
            rows = measure_page(path)
        else:
            with open_ledger(f"sqlite:///{path}", read_only=True, clock=lambda: END) as ledger:
                rows = measure(path, ledger)
    if options.json:
        json.dump({"roll_up_us": rolled, "page" if options.page else "reports": rows}, sys.stdout, indent=2)
        return
    if rolled is not None:
        print(f"roll-up: {rolled:.1f} µs per event")
    if options.page:
        print(f"{'page':<26}{'first byte':>11}{'CPU':>10}")
        for row in rows:
            print(f"{row['page']:<26}{row['first_byte_ms']:>8} ms{row['cpu_ms']:>7} ms")
        return
    print(f"{'by':<22}{'report':>9}{'plain SQL':>11}")
    for row in rows:
        print(f"{row['by']:<22}{row['report']:>8.3f}s{row['plain_sql']:>10.3f}s")


if __name__ == "__main__":
    main()
