"""Where answers are saved: at once, or in the background where comparing them asks a model."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from costguard_core.cache.answer import Answer
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import Vector
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.util.batch_worker import BatchWorker

_MAX_WAITING = 100  # answers; more are not learned from. A choice: a judge of 30 a minute is three minutes behind
_CLOSE_SECONDS = 60.0  # to finish what waits; a choice


class BackgroundWriter:
    """Saves paid answers through an engine, in the context (attribution) of whoever paid.

    Nobody waits for a comparator that says ``slow = True``.
    """

    def __init__(self, engine: SemanticEngine) -> None:
        self._engine = engine
        self._worker: BatchWorker[Callable[[], object]] | None = None
        if getattr(engine.compare, "slow", False):
            self._worker = BatchWorker(
                _run_all, name="costguard-semantic", interval=0, batch=1, capacity=_MAX_WAITING, patience=0, retry=False
            )

    def save(self, query: SemanticQuery, vector: Vector, answer: Answer, text: str) -> None:
        """Raises what comparing raises, if it is done at once."""
        work = partial(self._engine.save, query, vector, answer, text)
        if self._worker is None:
            work()
        elif not self._worker.put(partial(copy_context().run, work)):
            self._engine.decline("too many answers wait for the judge")

    def wait(self) -> bool:
        """Until everything given so far is saved; whether it was within a minute."""
        return self._worker is None or self._worker.flush(_CLOSE_SECONDS)

    def close(self) -> None:
        """Finish what was given, for at most a minute, and close the engine."""
        if self._worker is not None:
            self._worker.close(_CLOSE_SECONDS)
        self._engine.close()


def _run_all(batch: list[Callable[[], object]]) -> None:
    for save in batch:
        save()
