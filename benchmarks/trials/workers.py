"""Several worker processes of a web server spend from one budget in Redis; one is killed in the middle of calls.

    pip install gunicorn uvicorn
    python benchmarks/trials/workers.py --server uvicorn
    python benchmarks/trials/workers.py --server gunicorn           # each worker imports the application
    python benchmarks/trials/workers.py --server gunicorn-preload   # forked after the guard has made its first call

First many clients ask at once, more often than the budget pays. Then the provider stops answering, one worker that has
calls in flight gets SIGKILL, and the provider goes on: what the dead worker held is charged when its lease ends.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from _trial import CENT, PRICES, folder, outcome, parser_of, scripted, started, until
from local_redis import LocalRedis
from ports import reserved_port

from costguard_core import CostGuard, Outcome
from costguard_core.simulate import Simulator

LEASE = 6.0  # seconds
PAYS = 40  # calls per user that the budget allows


def command(server: str, workers: int, port: int) -> list[str]:
    where = ["--chdir", str(Path(__file__).parent), "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
    if server == "uvicorn":
        place = ["--app-dir", str(Path(__file__).parent), "--port", str(port), "--log-level", "error"]
        return [sys.executable, "-m", "uvicorn", "_app:asgi", "--workers", str(workers), *place]
    preload = ["--preload"] if server == "gunicorn-preload" else []
    threads = ["--worker-class", "gthread", "--threads", "8", "--workers", str(workers), "--timeout", "120"]
    return [sys.executable, "-m", "gunicorn", "_app:wsgi", *threads, *preload, *where]


@contextmanager
def running(server: str, workers: int, environment: dict[str, str]) -> Iterator[str]:
    """The URL of the application on ``workers`` processes."""
    with reserved_port() as port:
        process = subprocess.Popen(
            command(server, workers, port),
            env=os.environ | environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}/ask"
        try:
            until(lambda: _answers(process, url))
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _answers(process: subprocess.Popen[bytes], url: str) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the server ended with exit code {process.returncode}")
    try:
        return httpx.get(url, params={"user": "warm-up"}, timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


def asked(url: str, user: str) -> tuple[int, int]:
    """The status of one request and the process that answered; 0 where the connection broke."""
    try:
        reply = httpx.get(url, params={"user": user}, timeout=120)
    except httpx.HTTPError:
        return 0, 0
    return reply.status_code, reply.json()["pid"]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--server", choices=["uvicorn", "gunicorn", "gunicorn-preload"], default="uvicorn")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--calls", type=int, default=400, help="requests of the first part, of two users")
    trial = started("workers", parser)
    options = trial.options
    with folder() as place, LocalRedis(place) as redis, Simulator(reply=scripted) as provider:
        ledger = f"sqlite:///{place}/ledger.db"
        budgets = [f"{PAYS} requests/day per user", f"${5 * PAYS / 100:.2f}/day"]
        environment = {
            "TRIAL_STORE": f"{redis.url}?timeout=1",
            "TRIAL_LEDGER": ledger,
            "TRIAL_PROVIDER": provider.base_url,
            "TRIAL_BUDGETS": json.dumps(budgets),
            "TRIAL_LEASE": str(LEASE),
            "TRIAL_ASK_AT_ONCE": "yes" if options.server == "gunicorn-preload" else "",
        }
        guard = CostGuard(budgets, store=environment["TRIAL_STORE"], ledger=ledger, prices=PRICES, lease=LEASE)
        with running(options.server, options.workers, environment) as url, ThreadPoolExecutor(32) as pool:
            before = provider.count
            replies = list(pool.map(lambda n: asked(url, f"u{n % 2}"), range(options.calls)))
            statuses = Counter(status for status, _ in replies)
            trial.row(
                f"two users with {PAYS} calls a day each: exactly {2 * PAYS} of {options.calls} are paid",
                f"{statuses[200]} answered, {statuses[429]} refused, {statuses[0] + statuses[503]} failed, "
                f"{provider.count - before} at the provider",
                kept=statuses[200] == provider.count - before == 2 * PAYS and statuses[429] == options.calls - 2 * PAYS,
            )
            trial.row(
                f"{options.workers} processes answered",
                len({pid for _, pid in replies}),
                kept=len({pid for _, pid in replies}) == options.workers,
            )
            spent, held = totals(guard)
            trial.row(
                "nothing is held when all have answered",
                f"${held / 1e9:.2f} held, ${spent / 1e9:.2f} spent",
                kept=held == 0,
            )

            killed, lost = kill_one(pool, url, provider)
            reserved = time.monotonic()
            _, held = totals(guard)
            trial.row(
                "kill -9 of a worker: what it held stays held until the lease ends",
                f"{lost} calls lost their worker, ${held / 1e9:.2f} held",
                kept=lost > 0 and held == lost * CENT,
            )
            until(lambda: outcome(guard, "sweeper") and totals(guard)[1] == 0, seconds=60)
            took = time.monotonic() - reserved
            trial.row(
                f"held is back to 0 when the lease ({LEASE:g} s) has ended",
                f"{took:.1f} s later",
                kept=took < LEASE + 3,
            )
            trial.row("the other workers go on", "as before", kept=others_answer(url, killed))
            paid, abandoned = in_the_ledger(guard)
            spent, _ = totals(guard)
            trial.row(
                "spent is what the ledger says, with the calls of the dead worker",
                f"${spent / 1e9:.2f} spent, ${paid / 1e9:.2f} in the ledger, {abandoned} events abandoned",
                kept=spent == paid and abandoned == lost,
            )
        guard.close()
    trial.finish()


def kill_one(pool: ThreadPoolExecutor, url: str, provider: Simulator) -> tuple[int, int]:
    """Kill the worker that has most of twelve calls in flight: its process id, and how many callers lost it."""
    before = provider.count
    with provider.service.hold():
        late = [pool.submit(asked, url, f"late{n}") for n in range(12)]
        provider.service.wait_for_requests(before + 12, timeout=60)
        workers = Counter(request.headers["x-worker"] for request in provider.requests[before:])
        killed = int(workers.most_common(1)[0][0])
        os.kill(killed, signal.SIGKILL)
    return killed, sum(future.result()[0] == 0 for future in late)


def others_answer(url: str, killed: int) -> bool:
    status, pid = asked(url, "later")
    return status == 200 and pid != killed


def in_the_ledger(guard: CostGuard) -> tuple[int, int]:
    """Nano-dollars of all events, and how many calls were abandoned, once every process has written what it has."""

    def read() -> tuple[int, int]:
        events = list(guard.ledger.events())
        return sum(event.cost or 0 for event in events), sum(event.outcome is Outcome.ABANDONED for event in events)

    until(lambda: read()[0] == totals(guard)[0], seconds=10)
    return read()


def totals(guard: CostGuard) -> tuple[int, int]:
    """What everybody together has spent and holds, in nano-dollars."""
    (row,) = [row for row in guard.status() if row.unit == "usd"]
    return int(row.spent * 10**9), int(row.held * 10**9)


if __name__ == "__main__":
    main()
