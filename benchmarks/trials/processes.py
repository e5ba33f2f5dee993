"""multiprocessing, spawned and forked, over counters in SQLite and in Redis: exactly what fits is paid, once.

    python benchmarks/trials/processes.py
    python benchmarks/trials/processes.py --processes 8 --calls 500

Spawned processes are given the guard as a pickle; forked ones inherit it, after it has made calls. Both kinds run
threads, and one process is killed in the middle of a call.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _trial import CENT, PRICES, Trial, a_call, folder, outcome, parser_of, started, until
from local_redis import LocalRedis

from costguard_core import CostGuard, Outcome

PAYS = 50
LEASE = 8.0  # seconds


def work(guard: CostGuard, calls: int) -> Counter[str]:
    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(lambda _: outcome(guard, "u1"), range(calls)))


def hang(guard: CostGuard, told: multiprocessing.synchronize.Event) -> None:
    guard.before(a_call(guard, "u2"))
    told.set()
    time.sleep(600)


def measure(trial: Trial, kind: str, name: str, store: str, place: Path) -> None:
    options = trial.options
    context = multiprocessing.get_context(kind)
    ledger = f"sqlite:///{place}/ledger-{kind}-{name}.db"
    budget = f"${PAYS / 100:.2f}/day per user"
    with CostGuard([budget], store=store, ledger=ledger, prices=PRICES, lease=LEASE) as guard:
        first = outcome(guard, "u1")
        with context.Pool(options.processes) as pool:
            parts = pool.starmap(work, [(guard, options.calls)] * options.processes)
            pool.close()  # its children end by themselves; `terminate` would take what they have not written yet
            pool.join()
        found = sum(parts, Counter({first: 1}))
        trial.row(
            f"{kind}, {name}: exactly {PAYS} of {sum(found.values())} calls are paid",
            dict(found),
            kept=found["paid"] == PAYS and not found["unavailable"],
        )
        told = context.Event()
        victim = context.Process(target=hang, args=(guard, told))
        victim.start()
        told.wait(120)
        os.kill(victim.pid or 0, signal.SIGKILL)
        killed = time.monotonic()
        victim.join()
        until(lambda: outcome(guard, "u3") and held(guard, "u2") == 0, seconds=60, pause=0.2)
        took = time.monotonic() - killed
        spent = int(next(iter(guard.status(scope={"user": "u2"}))).spent * 10**9)
        trial.row(
            f"{kind}, {name}: after kill -9 the call is charged when its lease ({LEASE:g} s) has ended",
            f"{took:.1f} s later, ${spent / 1e9:.2f}",
            kept=took < LEASE + 3 and spent == CENT,
        )
        guard.flush()
        events = Counter(event.outcome for event in guard.ledger.events() if event.attribution.user in ("u1", "u2"))
        trial.row(
            f"{kind}, {name}: the ledger has every call once",
            {str(outcome): count for outcome, count in events.items()},
            kept=events[Outcome.MISS] == PAYS
            and events[Outcome.REFUSED] == found["refused"]
            and events[Outcome.ABANDONED] == 1,
        )


def held(guard: CostGuard, user: str) -> int:
    return sum(int(row.held * 10**9) for row in guard.status(scope={"user": user}))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--calls", type=int, default=60, help="of each process")
    trial = started("processes", parser)
    with folder() as place, LocalRedis(place) as redis:
        for kind in ("spawn", "fork"):
            measure(trial, kind, "SQLite", f"sqlite:///{place}/counters-{kind}.db?timeout=2", place)
            measure(trial, kind, "Redis", f"{redis.url}?timeout=1&prefix={kind}", place)
    trial.finish()


if __name__ == "__main__":
    main()
