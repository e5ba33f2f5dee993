"""Forks, exits and kills: real processes on a real file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from python_process import run_python
from waiting import SAFETY_LIMIT, wait_until

from costguard_core.ledger import Ledger, open_ledger
from costguard_core.types import Event, Outcome

HEAD = """
import os, sys, time
from costguard_core.ledger import open_ledger
from costguard_core.types import Event, Outcome
ledger = open_ledger(sys.argv[1])
def append(id):
    ledger.append(Event(id=str(id), time=time.time(), outcome=Outcome.MISS, model="m", cost=1))
"""


def ids(url: str) -> set[str]:
    with open_ledger(url, read_only=True) as ledger:
        return {event.id for event in ledger.events()}


def append(ledger: Ledger, id: str) -> None:
    ledger.append(Event(id=id, time=time.time(), outcome=Outcome.MISS, model="m", cost=1))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def test_a_program_that_just_ends_has_written_everything(url: str) -> None:
    run_python(HEAD + "[append(n) for n in range(1000)]", url)
    assert ids(url) == {str(n) for n in range(1000)}


def test_a_program_that_dies_of_an_error_has_written_everything(url: str) -> None:
    done = run_python(HEAD + "append(1); raise SystemExit(3)", url, check=False)
    assert (done.returncode, ids(url)) == (3, {"1"})


@pytest.mark.slow
def test_kill_9_loses_at_most_the_last_moments(url: str) -> None:
    """What no longer waits in memory is on the disk, and the writer keeps up without being asked to."""
    code = HEAD + "n = 0\nwhile True:\n    append(n); n += 1; print(n - ledger.waiting, flush=True); time.sleep(0.001)"
    durable = 0
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            durable = max(durable, int(line) - 1)  # one may be in the writer's hands
            if durable > 1_000:
                process.send_signal(signal.SIGKILL)
    assert durable > 1_000
    assert {str(number) for number in range(durable)} <= ids(url)


def test_a_forked_child_writes_its_own_events_and_not_its_parents(url: str) -> None:
    with open_ledger(url, interval=30.0) as ledger:  # nothing is written before it is asked for
        append(ledger, "parent-before")
        pid = os.fork()
        if pid == 0:
            append(ledger, "child")
            os._exit(0 if ledger.close() and ledger.errors == 0 else 1)
        assert os.waitpid(pid, 0)[1] == 0
        append(ledger, "parent-after")
        assert ledger.flush(SAFETY_LIMIT)
        assert sorted(event.id for event in ledger.events()) == ["child", "parent-after", "parent-before"]
        assert ledger.errors == 0


def _in_child(ledger: Ledger, name: str) -> None:
    for number in range(50):
        append(ledger, f"{name}-{number}")


@pytest.mark.slow
def test_forked_workers_that_just_return_have_written_everything(url: str) -> None:
    context = multiprocessing.get_context("fork")
    with open_ledger(url) as ledger:
        append(ledger, "parent")
        workers = [context.Process(target=_in_child, args=(ledger, f"w{n}")) for n in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert ledger.flush(SAFETY_LIMIT)
    assert ids(url) == {"parent"} | {f"w{n}-{i}" for n in range(3) for i in range(50)}


@pytest.mark.slow
def test_processes_that_start_together_make_one_schema(url: str) -> None:
    code = HEAD + "[append(f'{os.getpid()}-{n}') for n in range(100)]; ledger.close()"
    processes = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0, 0, 0, 0]
    assert len(ids(url)) == 400


CELERY_TASKS = HEAD.replace("sys.argv[1]", "os.environ['LEDGER']") + (
    "from celery import Celery\n"
    "app = Celery('tasks', broker=os.environ['BROKER'], backend=os.environ['BROKER'])\n"
    "app.conf.broker_connection_retry_on_startup = True\n"
    "append('parent')\n"
    "app.task(append, name='append')\n"
)


@pytest.mark.slow
def test_children_that_celery_recycles_have_written_everything(
    url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import Celery

    (tmp_path / "tasks.py").write_text(CELERY_TASKS)
    monkeypatch.setenv("LEDGER", url)
    monkeypatch.setenv("BROKER", redis_url)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    options = "worker --pool prefork --concurrency 2 --max-tasks-per-child 3 --uid 0 --loglevel error"
    worker = subprocess.Popen([sys.executable, "-m", "celery", "-A", "tasks", *options.split()], cwd=tmp_path)
    try:
        with Celery(broker=redis_url, backend=redis_url) as app:
            results = [app.send_task("append", [f"call-{n}"]) for n in range(12)]
            for result in results:
                result.get(timeout=SAFETY_LIMIT)
        wait_until(lambda: ids(url) == {"parent"} | {f"call-{n}" for n in range(12)})
    finally:
        worker.terminate()
        worker.wait(SAFETY_LIMIT)
