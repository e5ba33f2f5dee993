"""Does advice find what was planted, and is it worth what it says? Twelve wastes among other calls.

    python benchmarks/advice_backtest.py [SEEDS] [--scale 1.0]            the ledger that the rules were written on
    python benchmarks/advice_backtest.py [SEEDS] --unseen [--first 1000]  ledgers of four shapes, all drawn by a seed
    python benchmarks/advice_backtest.py --doubtful                       calls that look like waste, and are meant

Prints for each ledger what was found of twelve, findings above 1 % of the spend that were not planted, and the largest
error of a saving. Exits with 1 where fewer than eleven are found, one is false, or a saving is off by more than 20 %.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from planted_wastes import DAY, DAYS, START, Planted, Planter
from varied_wastes import SHAPES, Shape, VariedPlanter

from costguard_core.advice import Advice, advise
from costguard_core.ledger import open_ledger
from costguard_core.pricing import PriceBook

BAND, FALSE = 0.2, 0.01


class Run(NamedTuple):
    """One ledger, and what is said of it."""

    planted: Planted
    found: Advice
    seconds: float

    @property
    def errors(self) -> dict[tuple[str, str | None], float]:
        """Of what was found: how far the saving is from the truth, as a part of it."""
        said = {(each.kind, each.endpoint): each.saving for each in self.found}
        return {
            key: said[key] / nanos - 1 if nanos else 0.0 for key, nanos in self.planted.truth.items() if key in said
        }

    @property
    def false(self) -> list[str]:
        """What is said to save more than 1 % of the spend, and was not planted."""
        large = [each for each in self.found if each.saving > FALSE * self.planted.spend]
        return [each.mark for each in large if (each.kind, each.endpoint) not in self.planted.truth]

    @property
    def inside(self) -> int:
        """How many of the true savings lie in the interval that is said."""
        truth = self.planted.truth
        return sum(each.low <= truth.get((each.kind, each.endpoint), -1) <= each.high for each in self.found)

    @property
    def largest(self) -> float:
        return max(map(abs, self.errors.values()), default=0.0)

    @property
    def fails(self) -> bool:
        return len(self.errors) < 11 or bool(self.false) or self.largest > BAND

    def __str__(self) -> str:
        missed = [f"missed: {kind} {where or ''}" for kind, where in self.planted.truth.keys() - self.errors.keys()]
        wrong = [f"false: {mark}" for mark in self.false]
        return (
            f"{len(self.planted.events):>7,}  {len(self.errors):>2}/12  {len(self.false):>5}  {self.largest:>13.1%}  "
            f"{self.inside:>16}/12  {self.seconds:>7.2f}  {'; '.join([*missed, *wrong])}"
        )


def run(planted: Planted, prices: PriceBook, days: int) -> Run:
    """What advice says of a ledger."""
    end = START + days * DAY
    with TemporaryDirectory() as folder, open_ledger(f"sqlite:///{folder}/calls.db", clock=lambda: end) as ledger:
        planted.write(ledger)
        began = perf_counter()
        found = advise(ledger, since=START - DAY, prices=prices, budgets=planted.budgets, pairs=planted.pairs)
        return Run(planted, found, perf_counter() - began)


def tuned(seeds: int, scale: float) -> Iterator[Run]:
    prices = PriceBook()
    for seed in range(seeds):
        one = run(Planter(seed, scale, prices=prices).all(), prices, DAYS)
        print(f"{seed:>4}  {one}", flush=True)
        yield one
    print(f"\nseed {seeds - 1}:")
    for key, nanos in sorted(one.planted.truth.items(), key=lambda item: -item[1]):
        said = next((each for each in one.found if (each.kind, each.endpoint) == key), None)
        text = "not found" if said is None else f"said ${said.saving / 1e9:8.2f} ({one.errors[key]:+.1%})"
        print(f"  {key[0]:<13} {key[1] or '-':<12} true ${nanos / 1e9:8.2f}  {text}")


def unseen(shape: Shape, first: int, seeds: int) -> Iterator[Run]:
    for seed in range(first, first + seeds):
        planter = VariedPlanter(seed, shape)
        one = run(planter.all(), planter.prices, planter.days + 1)
        print(f"{seed:>4}  {one}", flush=True)
        yield one


def show_kinds(runs: list[Run]) -> None:
    """How well each kind of waste is found and valued, over all ledgers."""
    errors = defaultdict(list)
    for each in runs:
        for (kind, _), error in each.errors.items():
            errors[kind].append(error)
    print("\nkind           found  error in the median  largest")
    for kind, off in sorted(errors.items(), key=lambda item: max(map(abs, item[1]))):
        print(f"{kind:<13}  {len(off):>2}/{len(runs):<2}  {median(off):>+19.1%}  {max(off, key=abs):>+7.1%}")


def show_doubtful() -> None:
    """What advice says of calls that are meant so."""
    for shape in SHAPES:
        planter = VariedPlanter(1, shape)
        found = run(planter.doubtful(), planter.prices, planter.days + 1).found
        print(f"{shape.name}: {', '.join(f'{each.mark} ({each.confidence})' for each in found) or 'nothing'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--unseen", action="store_true")
    parser.add_argument("--first", type=int, default=1_000)
    parser.add_argument("--doubtful", action="store_true")
    given = parser.parse_args()
    if given.doubtful:
        show_doubtful()
        return 0
    head = "seed    calls  found  false  largest error  inside the interval  seconds"
    if not given.unseen:
        print(head)
        return int(sum(one.fails for one in tuned(given.seeds, given.scale)) > 0)
    runs = []
    for shape in SHAPES:
        print(f"\n{shape.name}\n{head}")
        runs += unseen(shape, given.first, given.seeds)
    show_kinds(runs)
    print(f"\n{sum(not one.fails for one in runs)} of {len(runs)} ledgers hold all three bars")
    return int(any(one.fails for one in runs))


if __name__ == "__main__":
    raise SystemExit(main())
