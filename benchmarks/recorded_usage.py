"""How many recorded usage objects of real providers cost what they should: python benchmarks/recorded_usage.py PATH

PATH is a gzip of JSON lines with ``provider``, ``model``, ``usage``, ``url``, ``priced_at`` and ``cost_usd`` (``null``:
no expected cost). Each is read and priced as a settled call. Exits 1 if less than 99.5 % of those with an expected cost
are equal within 1 % or marked (estimated, or without a price).

``--over-http`` also replays each of them from a server on this machine through the real clients of both frameworks,
whole and as a stream, and compares the charge with that of reading it directly. Exits 1 also if one differs unmarked.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from costguard_core import Call
from costguard_core.pricing import PriceBook
from costguard_core.pricing.price_book import Cost, priced
from costguard_core.usage.reader import read_usage

TOLERANCE, GOAL = 0.01, 0.995


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as file:
        yield from map(json.loads, file)


def charge(book: PriceBook, row: dict[str, Any], seller: str | None = "recorded") -> tuple[Cost | None, bool]:
    """The cost of a row, ``None`` if its usage is not read, and whether it is marked as an estimate.

    ``seller`` is who sells, if that is not the provider that it was recorded from; ``None``: nobody says.
    """
    usage = read_usage(row["usage"], provider=row["provider"])
    if usage is None:
        return None, False
    call = Call(
        "",
        row["requested_model"] or row["model"],
        row["priced_at"],
        row["provider"] if seller == "recorded" else seller,
    )
    cost = priced(book, call, usage, row["model"])
    return cost, usage.estimated or cost.priced_by == "estimate"


def verdict(cost: Cost | None, expected: float, *, marked: bool) -> str:
    if cost is None:
        return "not read"
    if cost.nanos is None:
        return "without a price"
    if abs(cost.nanos / 1e9 - expected) <= max(TOLERANCE * expected, 1e-9):
        return "equal"
    return "marked" if marked or cost.unpriced else "wrong"


def main(path: Path) -> int:
    book = PriceBook()
    book.warm_up()
    found: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    begun, read = time.perf_counter(), 0
    for row in rows(path):
        cost, marked = charge(book, row)
        read += 1
        sources[str(cost.priced_by if cost is not None else None)] += 1
        if row["cost_usd"] is None:
            found["no expected cost"] += 1
            continue
        said = verdict(cost, row["cost_usd"], marked=marked)
        found[said] += 1
        if said in ("wrong", "not read"):
            seen = None if cost is None or cost.nanos is None else cost.nanos / 1e9
            print(f"{said}: {row['provider']} {row['model']} expected {row['cost_usd']} saw {seen} {row['usage']}")
    took = time.perf_counter() - begun
    compared = read - found["no expected cost"]
    print(f"{read} recorded usages, {compared} with an expected cost, {1e6 * took / read:.0f} microseconds each")
    for name, number in found.most_common():
        share = f" ({number / compared:.2%})" if name != "no expected cost" else ""
        print(f"  {name}: {number}{share}")
    print(f"  priced by: {dict(sources)}")
    good = found["equal"] / compared >= GOAL and not found["wrong"] and not found["not read"]
    return 0 if good else 1


if __name__ == "__main__":
    given = argparse.ArgumentParser()
    given.add_argument("path", type=Path)
    given.add_argument("--over-http", action="store_true", help="replay through the integrations' clients as well")
    options = given.parse_args()
    status = main(options.path)
    if options.over_http:
        from _replay import replay

        status = replay(list(rows(options.path)), partial(charge, PriceBook())) or status
    sys.exit(status)
