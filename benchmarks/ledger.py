"""How many calls a second the ledger records, against one committed row per call and against an ORM.

    python benchmarks/ledger.py
    python benchmarks/ledger.py --postgres postgresql://user@host/database --json

Every way writes the same events (all columns, one index on time) into a new database of its own, and is done when the
last event is committed. "autocommit" is what a callback does that inserts a row and commits; "ORM" is SQLAlchemy's
``add_all`` in batches of 500. The ratio is against autocommit, measured in the same run. ``append`` is what the caller
of the ledger waits for: microseconds per event, median, while the writer thread works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from costguard_core.ledger import open_ledger
from costguard_core.ledger.columns import COLUMNS, NAMES, TABLE, to_row
from costguard_core.ledger.ledger import open_database
from costguard_core.ledger.migrations import migrate
from costguard_core.ledger.writing import write
from costguard_core.types import Attribution, Event, Outcome, Usage

BATCH = 500


def events(count: int) -> list[Event]:
    usage = Usage(input_tokens=1_200, output_tokens=300, cache_read_tokens=1_024)
    return [
        Event(
            id=uuid4().hex,
            time=1.7e9 + n,
            outcome=Outcome.MISS,
            model="gpt-5-mini",
            provider="openai",
            attribution=Attribution(user=f"u{n % 100}", endpoint=f"/e{n % 7}", session=f"s{n % 500}"),
            usage=usage,
            cost=123_456,
            latency=0.8,
            fingerprint="0123456789abcdef",
        )
        for n in range(count)
    ]


def rate(count: int, work: Callable[[], object]) -> float:
    """Events per second."""
    started = perf_counter()
    work()
    return count / (perf_counter() - started)


def ledger(url: str, given: Sequence[Event]) -> tuple[float, float]:
    """Events per second until all are durable, and microseconds per ``append`` (median of slices of 100)."""
    slices: list[float] = []
    with open_ledger(url, capacity=len(given) + 1) as opened:
        started = perf_counter()
        for start in range(0, len(given), 100):
            before = perf_counter()
            for event in given[start : start + 100]:
                opened.append(event)
            slices.append(perf_counter() - before)
        if not opened.flush(timeout=300):
            raise SystemExit("the ledger did not finish within five minutes")
        seconds = perf_counter() - started
    return len(given) / seconds, statistics.median(slices) / 100 * 1e6


def one_by_one(url: str, given: Sequence[Event]) -> float:
    """The same statement on the same connection, each event in a transaction of its own."""
    database = open_database(url)
    migrate(database)
    try:
        return rate(len(given), lambda: [write(database, [event], None) for event in given])
    finally:
        database.close()


def orm(path: Path, given: Sequence[Event]) -> float | None:
    """SQLAlchemy's ORM with the same columns; ``None`` if it is not installed."""
    try:
        from sqlalchemy import Column, Float, Integer, String, create_engine
        from sqlalchemy.orm import Session, declarative_base
    except ImportError:
        return None
    kinds = {"TEXT": String, "DOUBLE": Float, "BIGINT": Integer, "BOOLEAN": Integer}
    base: Any = declarative_base()
    columns: dict[str, Any] = {c.name: Column(kinds[c.type.split()[0]], primary_key=c.name == "id") for c in COLUMNS}
    row_type = type("Row", (base,), {"__tablename__": TABLE, **columns})
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    base.metadata.create_all(engine)

    def work() -> None:
        for start in range(0, len(given), BATCH):
            with Session(engine) as session, session.begin():
                batch = given[start : start + BATCH]
                session.add_all([row_type(**dict(zip(NAMES, to_row(e), strict=True))) for e in batch])

    try:
        return rate(len(given), work)
    finally:
        engine.dispose()


def measure(count: int, rounds: int, postgres: str | None) -> list[dict[str, Any]]:
    """The best round of each way: other work on the machine only ever takes away."""
    found: dict[str, list[float]] = {}
    waits: list[float] = []
    few = max(count // 20, 100)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            base = Path(name)
            per_second, wait = ledger(f"sqlite:///{base}/ledger.db", events(count))
            waits.append(wait)
            found.setdefault("SQLite, ledger", []).append(per_second)
            found.setdefault("SQLite, autocommit", []).append(one_by_one(f"sqlite:///{base}/single.db", events(few)))
            if (with_orm := orm(base / "orm.db", events(few))) is not None:
                found.setdefault("SQLite, ORM add_all", []).append(with_orm)
        if postgres:
            found.setdefault("Postgres, ledger", []).append(ledger(postgres, events(count))[0])
            found.setdefault("Postgres, autocommit", []).append(one_by_one(postgres, events(few)))
    best = {way: max(values) for way, values in found.items()}
    rows = [
        {
            "way": way,
            "events_per_second": round(value),
            "ratio": round(value / best[f"{way.split(',')[0]}, autocommit"], 1),
        }
        for way, value in best.items()
    ]
    rows[0]["append_us"] = round(min(waits), 2)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", help="URL of an empty database; its costguard_ tables are kept")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.events, options.rounds, options.postgres)
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        return
    print(f"{'way':<24}{'events/s':>10}{'ratio':>8}   append")
    for row in rows:
        wait = f"{row['append_us']:.2f} µs" if "append_us" in row else ""
        print(f"{row['way']:<24}{row['events_per_second']:>10,}{row['ratio']:>7}x   {wait}")


if __name__ == "__main__":
    main()
