"""SQLite counters under a CPU limit: processes that are stopped for a tenth of a second again and again.

    python benchmarks/trials/throttled_sqlite.py
    python benchmarks/trials/throttled_sqlite.py --stopped 0.09 --running 0.01 --processes 4

A container that has used up its share of the processors is stopped by the kernel until its next period begins, 100 ms
later by default (https://docs.kernel.org/scheduler/sched-bwc.html), wherever it is: also inside a transaction, with the
lock of the file. SIGSTOP and SIGCONT do the same here, to each process at its own rhythm.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter

from _trial import PRICES, folder, outcome, parser_of, started

from costguard_core import CostGuard

PAYS = 200


def work(store: str, seconds: float, start: float) -> tuple[Counter[str], float]:
    """What became of the calls of one process, and how long the slowest took."""
    with CostGuard([f"${PAYS / 100:.2f}/day", "$9000/hour"], store=store, prices=PRICES) as guard:
        guard.warm_up()
        time.sleep(max(0.0, start - time.time()))
        found, slowest = Counter[str](), 0.0
        while time.time() < start + seconds:
            before = time.perf_counter()
            found[outcome(guard)] += 1
            slowest = max(slowest, time.perf_counter() - before)
            time.sleep(0.002)
    return found, slowest


def throttle(pid: int, running: float, stopped: float, ended: threading.Event) -> None:
    rng = random.Random(pid)
    while not ended.wait(running * rng.uniform(0.5, 1.5)):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(stopped)
        os.kill(pid, signal.SIGCONT)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--running", type=float, default=0.05, help="seconds between two stops")
    parser.add_argument("--stopped", type=float, default=0.1, help="seconds of each")
    parser.add_argument("--seconds", type=float, default=20.0)
    trial = started("throttled_sqlite", parser)
    options = trial.options
    with folder() as place:
        store = f"sqlite:///{place}/counters.db"
        ended, start = threading.Event(), time.time() + 5.0
        with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
            results = [pool.apply_async(work, (store, options.seconds, start)) for _ in range(options.processes)]
            time.sleep(max(0.0, start - time.time()))
            pids = [process.pid for process in multiprocessing.active_children()]
            throttles = [
                threading.Thread(target=throttle, args=(pid, options.running, options.stopped, ended)) for pid in pids
            ]
            for thread in throttles:
                thread.start()
            time.sleep(options.seconds)
            ended.set()
            for thread in throttles:
                thread.join()
            parts = [result.get(60) for result in results]
        found = sum((part for part, _ in parts), Counter[str]())
        trial.row(
            f"{options.processes} processes, stopped for {options.stopped * 1e3:.0f} ms "
            f"after {options.running * 1e3:.0f} ms: no call is turned away",
            dict(found),
            kept=not found["unavailable"],
        )
        trial.row(f"exactly {PAYS} are paid", found["paid"], kept=found["paid"] == PAYS)
        trial.row("the slowest decision", f"{max(slowest for _, slowest in parts):.2f} s")
    trial.finish()


if __name__ == "__main__":
    main()
