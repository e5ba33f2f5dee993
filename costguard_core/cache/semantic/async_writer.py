"""Work that nobody waits for: one thread, a short queue, and what does not fit is dropped. Answers are saved so where
comparing them asks a model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from threading import Semaphore

from costguard_core.cache.answer import Answer
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.hit import Asked
from costguard_core.cache.semantic.index.base import Vector

_log = logging.getLogger("costguard.cache")


class Later:
    """Runs one piece of work after the other in the background, in the context (attribution) of whoever asked."""

    def __init__(self, *, most: int = 100) -> None:
        self._room = Semaphore(most)
        self._thread: ThreadPoolExecutor | None = None

    def run(self, work: Callable[[], object]) -> bool:
        """Whether the work was taken; ``False`` if too much waits already."""
        if not self._room.acquire(blocking=False):
            return False
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="costguard-later")
        self._thread.submit(copy_context().run, self._done, work)
        return True

    def wait(self) -> None:
        """Until everything taken so far is done."""
        if self._thread is not None:
            self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Finish what was taken."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _done(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            _log.warning("work in the background failed (%s)", type(error).__name__)
        finally:
            self._room.release()


class Saver:
    """Saves paid answers through an engine: at once, or later where its comparator says that it is ``slow``."""

    def __init__(self, engine: SemanticEngine) -> None:
        self._engine = engine
        self._later = Later() if getattr(engine.compare, "slow", False) else None

    def save(self, asked: Asked, vector: Vector, answer: Answer, text: str) -> None:
        """Raises what comparing raises, if it is done at once."""
        if self._later is None:
            self._engine.save(asked, vector, answer, text)
        elif not self._later.run(partial(self._engine.save, asked, vector, answer, text)):
            self._engine.decline("too many answers wait for the judge")

    def wait(self) -> None:
        """Until everything given so far is saved."""
        if self._later is not None:
            self._later.wait()

    def close(self) -> None:
        """Finish what was given, and close the engine."""
        if self._later is not None:
            self._later.close()
        self._engine.close()
