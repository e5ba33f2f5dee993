"""Does advice find what was planted, and is it worth what it says? Twelve wastes among noise, some seeds.

    python benchmarks/advice_backtest.py [SEEDS] [--scale 1.0]

Prints for each seed what was found of twelve, findings above 1 % of the spend that were not planted, and the largest
error of a saving; then one seed line by line. Exits with 1 where fewer than eleven are found, one is false, or a saving
is off by more than 20 %.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from planted_wastes import DAY, DAYS, START, Planted, Planter

from costguard_core.advice import Advice, advise
from costguard_core.ledger import open_ledger
from costguard_core.pricing import PriceBook

BAND, FALSE = 0.2, 0.01
END = START + DAYS * DAY


def run(seed: int, scale: float, prices: PriceBook) -> tuple[Planted, Advice, float]:
    """A planted ledger, what is said of it, and the seconds that took."""
    planted = Planter(seed, scale, prices=prices).all()
    with TemporaryDirectory() as folder, open_ledger(f"sqlite:///{folder}/calls.db", clock=lambda: END) as ledger:
        planted.write(ledger)
        began = perf_counter()
        found = advise(ledger, prices=prices, budgets=planted.budgets, pairs=planted.pairs)
        return planted, found, perf_counter() - began


def errors(planted: Planted, found: Advice) -> dict[tuple[str, str | None], float]:
    """Of what was found: how far the saving is from the truth, as a part of it."""
    said = {(each.kind, each.endpoint): each.saving for each in found}
    return {key: said[key] / nanos - 1 if nanos else 0.0 for key, nanos in planted.truth.items() if key in said}


def false_findings(planted: Planted, found: Advice) -> list[str]:
    """What is said to save more than 1 % of the spend, and was not planted."""
    large = [each for each in found if each.saving > FALSE * planted.spend]
    return [each.mark for each in large if (each.kind, each.endpoint) not in planted.truth]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    prices, failed = PriceBook(), False
    print(f"{'seed':>4}  {'calls':>7}  found  false  largest error  inside the interval  seconds")
    for seed in range(given.seeds):
        planted, found, seconds = run(seed, given.scale, prices)
        off = errors(planted, found)
        wrong = false_findings(planted, found)
        largest = max(map(abs, off.values()), default=0.0)
        inside = sum(each.low <= planted.truth.get((each.kind, each.endpoint), -1) <= each.high for each in found)
        failed = failed or len(off) < 11 or bool(wrong) or largest > BAND
        print(
            f"{seed:>4}  {len(planted.events):>7,}  {len(off):>2}/12  {len(wrong):>5}  {largest:>13.1%}  "
            f"{inside:>16}/12  {seconds:>7.2f}  {' '.join(wrong)}"
        )
    print(f"\nseed {given.seeds - 1}:")
    for key, nanos in sorted(planted.truth.items(), key=lambda item: -item[1]):
        said = next((each for each in found if (each.kind, each.endpoint) == key), None)
        text = "not found" if said is None else f"said ${said.saving / 1e9:8.2f} ({off[key]:+.1%}), {said.confidence}"
        print(f"  {key[0]:<13} {key[1] or '-':<12} true ${nanos / 1e9:8.2f}  {text}")
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
