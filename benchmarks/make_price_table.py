"""Makes the table of prices in costguard_core/pricing/data from LiteLLM's public one. What it writes is committed.

    pip download --no-deps litellm
    python benchmarks/make_price_table.py litellm-1.110.2-….whl 2026-11-29

The date is the day on which the table was taken. The table is model_prices_and_context_window_backup.json in the wheel:
MIT licence, Copyright (c) 2023 Berri AI, https://github.com/BerriAI/litellm.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import zipfile
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from costguard_core.pricing.litellm_format import TableEntry, read_table, seller_and_name

FOLDER = Path(__file__).resolve().parent.parent / "costguard_core" / "pricing" / "data"
TABLE = "litellm/model_prices_and_context_window_backup.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="litellm-*.whl")
    parser.add_argument("taken", type=date.fromisoformat, help="the day on which it was downloaded, such as 2026-11-29")
    options = parser.parse_args()
    with zipfile.ZipFile(options.wheel) as wheel:
        version = options.wheel.name.split("-")[1]
        licence = wheel.read(next(name for name in wheel.namelist() if re.search(r"dist-info/.*LICENSE$", name)))
        entries = list(read_table(json.loads(wheel.read(TABLE), parse_float=Decimal)))
    data = {
        "source": "LiteLLM",
        "version": version,
        "taken": options.taken.isoformat(),
        "licence": "MIT, Copyright (c) 2023 Berri AI; see LICENSE.litellm",
        **compact(entries),
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "litellm_prices.json.gz"
    packed = json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(packed, 9, mtime=0))
    (FOLDER / "LICENSE.litellm").write_bytes(licence)
    print(f"{len(entries)} models, {len(data['cards'])} price lists, {path.stat().st_size} bytes")


def compact(entries: list[TableEntry]) -> dict[str, Any]:
    """Every price list once, models by seller and name, and whose the names are that name no seller.

    A name that one seller has twice at two prices keeps the one of the plainer key; the other stays under its own key.
    """
    cards: dict[str, int] = {}
    models: dict[str, dict[str, int]] = {}
    bare: dict[str, str] = {}
    for entry in sorted(entries, key=lambda entry: (len(entry.key), entry.key)):
        seller, name = seller_and_name(entry)
        packed = json.dumps([entry.prices, entry.off_peak] if entry.off_peak else [entry.prices], sort_keys=True)
        card = cards.setdefault(packed, len(cards))
        names = models.setdefault(seller, {})
        if names.setdefault(name, card) != card:
            names[entry.key.lower()] = card
            print("two prices:", entry.key, "at", seller)
        if name == entry.key.lower():
            bare.setdefault(name, seller)
    by_seller = {seller: dict(sorted(names.items())) for seller, names in sorted(models.items())}
    return {"cards": [json.loads(card) for card in cards], "models": by_seller, "bare": dict(sorted(bare.items()))}


if __name__ == "__main__":
    main()
