"""Runs that a framework announces by callbacks: each from its start to its end, also where the end is never told."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop as _running_loop  # `get_running_loop` without an error where there is none
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from costguard_core.errors import CostGuardError, SpendLimitExceeded
from costguard_core.lifecycle import drivers
from costguard_core.lifecycle.calls import saved_nanos
from costguard_core.pricing.providers import seller_of
from costguard_core.types import Call, Outcome, Usage, UsageReport
from costguard_core.usage.reader import MessageStream, with_dropped_parts, with_hour_writes
from costguard_core.usage.token_counter import COUNTED_ELSEWHERE
from costguard_core.util.live_objects import LiveObjects

if TYPE_CHECKING:
    from costguard_core.budgets.admission import Permit
    from costguard_core.guard import CostGuard

_CROWD = 1024  # runs in flight before it is worth looking for lost ones


@dataclass(slots=True, eq=False)
class Run:
    """One run between its start and its end.

    Attributes:
        call: as the guard has it.
        tokens, letters: count its prompt, for an answer without usage, or with one that cannot be true.
        permit: ``None`` for a run that was refused and that the cache will answer.
        unwatch: stops watching the task that makes the call.
        reports: what the chunks of a stream say of their usage; ``None`` before the first.
        first: the run of the same batch that is told the usage of all of it; ``None``: this one.
        is_counted: the provider reported what it consumed.
    """

    call: Call
    tokens: Callable[[], int]
    letters: Callable[[], int]
    permit: Permit | None = field(default=None, kw_only=True)
    unwatch: Callable[[], object] | None = field(default=None, kw_only=True)
    reports: MessageStream | None = field(default=None, kw_only=True)
    first: Run | None = field(default=None, kw_only=True)
    is_counted: bool = field(default=False, kw_only=True)

    @property
    def streamed(self) -> Usage | None:
        """The usage that the chunks of a stream reported."""
        usage = None if self.reports is None else self.reports.usage
        return with_hour_writes(usage) if usage is not None and self.call.cache_for_hour else usage


R = TypeVar("R", bound=Run)


class RunsInFlight(Generic[R]):
    """The runs of one guard that have started and not ended, by the framework's id. Handlers of a guard share them."""

    def __init__(self, guard: CostGuard) -> None:
        self._guard = guard
        self._runs: dict[Hashable, R] = guard.in_flight
        self.get = self._runs.get
        self._batches: dict[tuple[int, int], list[Hashable]] = {}
        self._siblings: dict[Hashable, tuple[Hashable, ...]] = {}
        self._crowd = _CROWD
        _HANDLERS.add(self, None)

    def __contains__(self, run_id: Hashable) -> bool:
        return run_id in self._runs

    def start(
        self, run_id: Hashable, run: R, batch_size: int, is_answered: Callable[[R, SpendLimitExceeded], bool]
    ) -> None:
        """Reserve for a run, one of ``batch_size`` that start one after another.

        A refused one may go on without a permit where ``is_answered`` says that the cache has its answer.

        Raises:
            CostGuardError: the run is refused.
        """
        batch = self._batches.setdefault(_here(), []) if batch_size > 1 else []
        loop = _running_loop()
        try:
            run.permit = self._guard.admit(run.call, wait=loop is None)
        except CostGuardError as refusal:
            if isinstance(refusal, SpendLimitExceeded) and is_answered(run, refusal):
                self._runs[run_id] = run
                return
            # No handler is told an end of this run, or of those of its batch that started before it.
            for runs, _ in _HANDLERS:
                runs._not_made(run_id)
            raise
        if len(self._runs) >= self._crowd:
            self._forget_lost()
        if loop is not None:
            run.unwatch = self._watch_task(run_id)
        self._runs[run_id] = run
        if batch_size > 1:
            self._join_batch(run_id, batch, batch_size)

    def end(self, run_id: Hashable) -> R | None:
        """The run, taken out of those in flight; its task, which may go on for days, forgets it too."""
        self._siblings.pop(run_id, None)
        run = self._runs.pop(run_id, None)
        if run is not None and run.unwatch is not None:
            run.unwatch()
        return run

    def counted(
        self, run: R, usage: Usage | None, answers: Sequence[Any] = (), told: Mapping[str, Any] | None = None
    ) -> Usage | None:
        """The usage that ``run`` was told; ``None`` where it is said to be told to another run, and was not.

        An estimate where the integration may have dropped a part of it: ``answers`` are LangChain's generations, and
        ``told`` what stands beside them, one of which has the provider's own words if they were passed on.
        """
        if usage is COUNTED_ELSEWHERE and (run.first is None or not run.first.is_counted):
            return None
        run.is_counted = usage is not None and usage.total_tokens > 0
        if usage is None or not run.is_counted:
            return usage
        message = getattr(answers[0], "message", None) if answers else None
        metadata = {**(told or {}), **(getattr(message, "response_metadata", None) or {})}
        call = run.call
        return with_dropped_parts(usage, call.provider, seller_of(call.provider, call.host), metadata)

    def serve(self, run: R, mark: Mapping[str, Any], usage: Usage | None) -> None:
        """End a run that a cache has answered, as the mark of its answer says; ``usage`` is what it did not consume."""
        if run.permit is not None:
            self._guard.release(run.permit)
        saved = saved_nanos(self._guard, run.call, usage, mark)
        self._guard.hit(run.call, Outcome(mark["cache"]), saved=saved, usage=usage)

    def fail(self, run: R, error: BaseException, report: UsageReport) -> None:
        """End a run that did not finish; ``report`` is what is known of it."""
        if run.permit is None:
            return
        if isinstance(error, GeneratorExit):  # perhaps inside the garbage collector
            self._guard.abandon(run.permit, lambda: report)
        else:
            drivers.run(self._guard.failing(run.permit, error, report))

    def release(self, run_id: Hashable) -> None:
        """End a run that never reached the provider."""
        run = self.end(run_id)
        if run is not None and run.permit is not None:
            self._guard.release(run.permit)

    def batch_of(self, run_id: Hashable) -> Sequence[Hashable]:
        """The runs that started together with this one, in their order; empty if it was alone."""
        return self._siblings.get(run_id, ())

    def end_batch(self, failed: Hashable, batch: Sequence[Hashable]) -> None:
        """End what was called one after another up to the ``failed`` one: those before were paid, others not called.

        On an event loop they are called side by side, and each tells its own end.
        """
        if _running_loop() is not None:
            return
        after = False
        for member in batch:
            if member == failed:
                after = True
            elif after:
                self.release(member)
            else:
                self._lose(member)

    def _not_made(self, run_id: Hashable) -> None:
        """A handler, perhaps of another guard, has refused a run: it is not made, nor are those of its batch so far."""
        for unmade in {run_id, *self._batches.pop(_here(), ()), *self._siblings.get(run_id, ())}:
            self.release(unmade)

    def _lose(self, run_id: Hashable) -> None:
        run = self.end(run_id)
        if run is not None and run.permit is not None:
            self._guard.fail(run.permit, _AnswerLost())

    def _join_batch(self, run_id: Hashable, batch: list[Hashable], size: int) -> None:
        batch.append(run_id)
        if len(batch) == size:
            self._batches.pop(_here(), None)
            first = self._runs.get(batch[0])
            for member in batch:
                self._siblings[member] = tuple(batch)
                if member != batch[0] and (run := self._runs.get(member)) is not None:
                    run.first = first

    def _forget_lost(self) -> None:
        """Runs that were never ended are charged, recorded, and need no memory any more."""
        long_ago = self._guard.clock() - 2 * self._guard.lease
        for run_id in [found for found, run in tuple(self._runs.items()) if run.call.started < long_ago]:
            self._lose(run_id)
        self._crowd = max(_CROWD, 2 * len(self._runs))

    def _watch_task(self, run_id: Hashable) -> Callable[[], object] | None:
        """A cancelled call may fire no callback at all; the end of its task does. Returns how to stop watching."""
        task = asyncio.current_task()
        if task is None:
            return None
        done = partial(self._task_done, run_id)
        task.add_done_callback(done)
        return partial(task.remove_done_callback, done)

    def _task_done(self, run_id: Hashable, task: asyncio.Task[object]) -> None:
        if task.cancelled() or task.exception() is not None:
            run = self.end(run_id)
            if run is not None and run.permit is not None:
                self._guard.fail(run.permit, asyncio.CancelledError())


_HANDLERS: LiveObjects[RunsInFlight[Any], None] = LiveObjects()


class _AnswerLost(BaseException):
    """Internal: an answer was paid for, and the framework dropped it because another one of its batch failed."""


def _here() -> tuple[int, int]:
    """Where this code runs: prompts of one batch start one after another in one thread and task."""
    task = asyncio.current_task() if _running_loop() else None
    return threading.get_ident(), id(task)
