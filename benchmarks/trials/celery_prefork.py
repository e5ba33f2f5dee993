"""Celery's prefork pool spends from one budget in Redis; children are recycled, one is killed in the middle of a call.

    pip install celery redis
    python benchmarks/trials/celery_prefork.py

The guard is made in the parent, before the pool forks. Each child ends after some tasks (``--max-tasks-per-child``),
with events still in its queue: they must be in the ledger.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _trial import CENT, PRICES, folder, outcome, parser_of, started, until
from local_redis import LocalRedis

from costguard_core import CostGuard, Outcome

LEASE = 6.0  # seconds
PAYS = 60


@contextmanager
def worker(children: int, tasks_per_child: int) -> Iterator[None]:
    """A worker for the tasks of ``_tasks.py``."""
    pool = ["--pool", "prefork", "--concurrency", str(children), "--max-tasks-per-child", str(tasks_per_child)]
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "_tasks", "worker", *pool, "--loglevel", "error"],
        cwd=Path(__file__).parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--children", type=int, default=4)
    parser.add_argument("--tasks-per-child", type=int, default=20)
    parser.add_argument("--calls", type=int, default=300)
    trial = started("celery_prefork", parser)
    options = trial.options
    with folder() as place, LocalRedis(place) as redis:
        broker, store = redis.url.replace("/0", "/1"), f"{redis.url}?timeout=1"
        budgets = [f"{PAYS} requests/day per user", f"${3 * PAYS / 100:.2f}/day"]
        ledger = f"sqlite:///{place}/ledger.db"
        environment = {
            "TRIAL_BROKER": broker,
            "TRIAL_STORE": store,
            "TRIAL_LEDGER": ledger,
            "TRIAL_BUDGETS": json.dumps(budgets),
            "TRIAL_LEASE": str(LEASE),
        }
        os.environ |= environment
        guard = CostGuard(budgets, store=store, ledger=ledger, prices=PRICES, lease=LEASE)
        with worker(options.children, options.tasks_per_child):
            from _tasks import app, ask, hang  # this process only sends

            results = [ask.delay(f"u{n % 2}") for n in range(options.calls)]
            answers = [result.get(timeout=300) for result in results]
            outcomes = Counter(answer for answer, _ in answers)
            trial.row(
                f"two users with {PAYS} calls a day each: exactly {2 * PAYS} of {options.calls} are paid",
                dict(outcomes),
                kept=outcomes == {"paid": 2 * PAYS, "refused": options.calls - 2 * PAYS},
            )
            processes = len({pid for _, pid in answers})
            trial.row("children that answered and were recycled", processes, kept=processes > options.children)

            told = "trial:hanging"
            hang.delay("late", told)
            _, pid = app.backend.client.blpop(told, timeout=60)
            os.kill(int(pid), signal.SIGKILL)
            killed = time.monotonic()
            held = totals(guard)[1]
            trial.row("kill -9 of a child: its call stays held", f"${held / 1e9:.2f} held", kept=held == CENT)
            until(lambda: outcome(guard, "sweeper") and totals(guard)[1] == 0, seconds=60, pause=0.2)
            took = time.monotonic() - killed
            trial.row(
                f"held is back to 0 when the lease ({LEASE:g} s) has ended",
                f"{took:.1f} s later",
                kept=took < LEASE + 3,
            )
            again = ask.delay("after").get(timeout=120)
            trial.row("the pool goes on", again[0], kept=again[0] == "paid" and again[1] != int(pid))
        guard.flush()
        events = list(guard.ledger.events())
        refused = sum(event.outcome is Outcome.REFUSED for event in events)
        paid = sum(event.cost or 0 for event in events)
        spent = totals(guard)[0]
        trial.row(
            "after the worker's end the ledger has every event, also of children that were recycled",
            f"${spent / 1e9:.2f} spent, ${paid / 1e9:.2f} in the ledger; {refused} refusals recorded",
            kept=spent == paid and refused >= outcomes["refused"],
        )
        guard.close()
    trial.finish()


def totals(guard: CostGuard) -> tuple[int, int]:
    """What everybody together has spent and holds, in nano-dollars."""
    (row,) = [row for row in guard.status() if row.unit == "usd"]
    return int(row.spent * 10**9), int(row.held * 10**9)


if __name__ == "__main__":
    main()
