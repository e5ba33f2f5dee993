"""The Celery application of ``celery_prefork.py``: the guard is made, and has made a call, before the pool forks."""

from __future__ import annotations

import json
import os
import time

from _trial import PRICES, USED, a_call, outcome
from celery import Celery

from costguard_core import CostGuard

app = Celery("trial", broker=os.environ["TRIAL_BROKER"], backend=os.environ["TRIAL_BROKER"])
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True, task_acks_late=False)

guard = CostGuard(
    json.loads(os.environ["TRIAL_BUDGETS"]),
    store=os.environ["TRIAL_STORE"],
    ledger=os.environ["TRIAL_LEDGER"],
    prices=PRICES,
    lease=float(os.environ["TRIAL_LEASE"]),
)
outcome(guard, "parent")  # connections and threads are there before the fork


@app.task
def ask(user: str) -> tuple[str, int]:
    return outcome(guard, user), os.getpid()


@app.task
def hang(user: str, told: str) -> None:
    """Reserve, say who did it, and never come back."""
    permit = guard.before(a_call(guard, user))
    guard.flush()  # what this child did before is not what the trial is about
    app.backend.client.rpush(told, os.getpid())
    time.sleep(600)
    guard.after(permit, USED)
