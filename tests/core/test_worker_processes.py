"""Several processes and hosts share one budget, are killed in the middle of things, and disagree about the time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from local_redis import BUSY_MACHINE_TIMEOUT
from ports import reserved_port
from python_process import run_python
from waiting import SAFETY_LIMIT, wait_until

from costguard_core import Call, CostGuard, CostGuardError, Event, Outcome, SpendLimitExceeded, Usage
from costguard_core.ledger import open_ledger
from costguard_core.simulate import Simulator

PRICES = {"m": {"input": "0", "output": "100"}}
PAYS, LEASE = 12, 3.0
APPLICATION = f"""
import os
import httpx
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from costguard_core import Call, CostGuard, SpendLimitExceeded, Usage

stores = {{"store": os.environ["STORE"], "ledger": os.environ["LEDGER"]}}
guard = CostGuard(["$0.12/day"], **stores, prices={PRICES!r}, lease={LEASE})
body = {{"model": "m", "max_tokens": 100, "messages": [{{"role": "user", "content": "How are you?"}}]}}

async def ask(request):
    try:
        permit = await guard.abefore(Call(guard.new_id(), "m", guard.clock(), input_tokens=0, max_output_tokens=100))
    except SpendLimitExceeded:
        return JSONResponse(None, 429)
    async with httpx.AsyncClient(timeout=600) as client:
        headers = {{"x-worker": str(os.getpid()), "authorization": "Bearer simulated"}}
        answer = await client.post(os.environ["PROVIDER"] + "/chat/completions", json=body, headers=headers)
    await guard.aafter(permit, Usage(output_tokens=answer.json()["usage"]["completion_tokens"]))
    return JSONResponse(None)

app = Starlette(routes=[Route("/ask", ask)])
"""


@contextmanager
def two_workers(folder: Path) -> Iterator[str]:
    (folder / "application.py").write_text(APPLICATION)
    with reserved_port() as port:
        options = f"--app-dir {folder} --workers 2 --port {port} --log-level error"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "uvicorn", "application:app", *options.split()]
        server = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            yield f"http://127.0.0.1:{port}/ask"
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def ask(url: str) -> int:
    """The status of a request; 0: the connection broke."""
    try:
        return httpx.get(url, timeout=SAFETY_LIMIT).status_code
    except httpx.HTTPError:
        return 0


@pytest.mark.slow
def test_a_budget_holds_across_workers_and_a_killed_one_leaks_nothing(
    openai_server: Simulator, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_server.service.reply = lambda *_: {"content": "Fine.", "output_tokens": 100}
    store, ledger = f"{redis_url}?timeout={BUSY_MACHINE_TIMEOUT}", f"sqlite:///{tmp_path}/ledger.db"
    for name, value in {"STORE": store, "LEDGER": ledger, "PROVIDER": openai_server.base_url}.items():
        monkeypatch.setenv(name, value)
    with two_workers(tmp_path) as url, ThreadPoolExecutor(16) as pool:
        with openai_server.service.hold():
            wait_until(lambda: connects(url))
            first = [pool.submit(ask, url) for _ in range(4)]
            openai_server.service.wait_for_requests(4, timeout=SAFETY_LIMIT)
            in_flight = Counter(request.headers["x-worker"] for request in openai_server.requests)
            victim, lost = in_flight.most_common(1)[0]
            os.kill(int(victim), signal.SIGKILL)
        answers = [future.result() for future in first] + list(pool.map(lambda _: ask(url), range(20)))
        paid = Counter(answers)[200]
        assert paid + lost == PAYS
        assert paid == openai_server.count - lost
        with CostGuard(["$0.12/day"], store=store, ledger=ledger, prices=PRICES, lease=LEASE) as guard:
            wait_until(lambda: swept(guard))
            (row,) = guard.status()
            assert (row.spent, row.held) == (Decimal("0.12"), 0)
            wait_until(lambda: recorded(guard) == {Outcome.MISS: paid, Outcome.ABANDONED: lost})


def connects(url: str) -> bool:
    try:
        return httpx.get(url.replace("/ask", "/ready"), timeout=SAFETY_LIMIT).status_code == 404
    except httpx.ConnectError:
        return False


def swept(guard: CostGuard) -> bool:
    """Whether nothing is held after one more call, which looks for leases that have ended."""
    with pytest.raises(SpendLimitExceeded):
        guard.before(Call(guard.new_id(), "m", guard.clock(), input_tokens=0, max_output_tokens=100))
    return all(not row.held for row in guard.status())


def recorded(guard: CostGuard) -> dict[Outcome, int]:
    guard.flush()
    return Counter(event.outcome for event in guard.ledger.events() if event.outcome is not Outcome.REFUSED)


def outcomes(guard: CostGuard, calls: int) -> Counter[str]:
    found = Counter[str]()
    for _ in range(calls):
        try:
            permit = guard.before(Call(guard.new_id(), "m", guard.clock(), input_tokens=0, max_output_tokens=100))
        except CostGuardError as error:
            found[type(error).__name__] += 1
        else:
            guard.after(permit, Usage(output_tokens=100))
            found["paid"] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["spawn", "fork"])
def test_processes_that_are_given_a_guard_spend_from_its_budget(kind: str, tmp_path: Path) -> None:
    store, ledger = (
        f"sqlite:///{tmp_path}/counters.db?timeout={BUSY_MACHINE_TIMEOUT}",
        f"sqlite:///{tmp_path}/ledger.db",
    )
    with CostGuard(["$0.12/day"], store=store, ledger=ledger, prices=PRICES) as guard:
        assert outcomes(guard, 2) == {"paid": 2}
        with multiprocessing.get_context(kind).Pool(2) as pool:
            parts = pool.starmap(outcomes, [(guard, 10), (guard, 10)])
            pool.close()
            pool.join()
        assert sum(parts, Counter[str]()) == {"paid": 10, "SpendLimitExceeded": 10}
        assert recorded(guard) == {Outcome.MISS: 12}


@pytest.mark.parametrize("hours", [-24, -0.025, 0.025, 24])
def test_a_host_whose_clock_is_wrong_counts_by_the_servers(
    redis_url: str, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, right = f"{redis_url}?timeout={BUSY_MACHINE_TIMEOUT}", time.time
    budgets = ["$0.05/day", "$0.05/hour"]
    with CostGuard(budgets, store=store, prices=PRICES) as guard:
        guard.before(Call("begun", "m", guard.clock(), input_tokens=0, max_output_tokens=100))
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: right() + hours * 3600.0)
            with CostGuard(budgets, store=store, prices=PRICES, clock=time.time, lease=5 * 3600.0) as wrong:
                assert outcomes(wrong, 3) == {"paid": 3}
        assert outcomes(guard, 3) == {"paid": 1, "SpendLimitExceeded": 2}
        assert {(row.spent, row.held) for row in guard.status()} == {(Decimal("0.04"), Decimal("0.01"))}


@pytest.mark.slow
def test_kill_9_with_a_full_queue_loses_the_record_of_what_waited_and_nothing_that_was_counted(tmp_path: Path) -> None:
    store, path = f"sqlite:///{tmp_path}/counters.db", tmp_path / "ledger.db"
    with open_ledger(f"sqlite:///{path}") as ledger:
        ledger.append(Event("before", time.time(), Outcome.MISS, "m", cost=1))
    program = """
        import os, sqlite3, sys
        from costguard_core import Call, CostGuard, Usage
        from costguard_core.ledger import open_ledger
        ledger = open_ledger(f"sqlite:///{sys.argv[2]}", capacity=50)
        guard = CostGuard(["$9/day"], store=sys.argv[1], ledger=ledger, prices={"m": {"input": "0", "output": "100"}})
        stranger = sqlite3.connect(sys.argv[2], isolation_level=None)
        stranger.execute("BEGIN IMMEDIATE")
        for number in range(60):
            permit = guard.before(Call(str(number), "m", guard.clock(), input_tokens=0, max_output_tokens=100))
            guard.after(permit, Usage(output_tokens=100))
        print(ledger.waiting, ledger.dropped, flush=True)
        os.kill(os.getpid(), 9)
    """
    done = run_python(program, store, path, check=False)
    assert (done.returncode, done.stdout.split()) == (-9, ["50", "10"]), done.stderr
    with CostGuard(["$9/day"], store=store, ledger=f"sqlite:///{path}", prices=PRICES) as guard:
        (row,) = guard.status()
        assert (row.spent, row.held) == (Decimal("0.60"), 0)
        assert [event.id for event in guard.ledger.events()] == ["before"]
