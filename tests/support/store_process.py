"""A counter store in a process of its own, asked step by step."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from waiting import SAFETY_LIMIT


def _serve(url: str, pipe: Connection) -> None:
    from costguard_core.counters import open_store
    from costguard_core.counters.sqlite.store import SqliteStore

    moved = [1_800_000_000.0]
    path = url.removeprefix("sqlite:///")
    store: Any = open_store(url) if path == url else SqliteStore(path, clock=lambda: moved[0])
    while (question := pipe.recv()) is not None:
        name, arguments, options = question
        try:
            if name == "advance":
                moved[0] += arguments[0]
                pipe.send(None)
            else:
                pipe.send(getattr(store, name)(*arguments, **options))
        except Exception as error:  # the test is told
            pipe.send(error)
    store.close()


class StoreProcess:
    """A store behind a pipe: each method is a question to the child, which answers before the next one is asked."""

    def __init__(self, url: str) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(url, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def ask(*arguments: Any, **options: Any) -> Any:
            self._pipe.send((name, arguments, options))
            assert self._pipe.poll(SAFETY_LIMIT), f"{name} is not answered"
            answer = self._pipe.recv()
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask

    def end(self) -> None:
        self._pipe.send(None)
        self.process.join(SAFETY_LIMIT)
        assert self.process.exitcode == 0
