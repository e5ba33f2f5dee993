"""Streams whose consumers go away: inside the garbage collector, in the middle, before they are read."""

from __future__ import annotations

import gc
import textwrap

import pytest
from llama_index.core.llms import ChatMessage, MockLLM
from python_process import run_python

from costguard_core import CostGuard, Event, Outcome
from llamaindex_costguard import guard_llm

COLLECTED = """
    import gc
    from llama_index.core.llms import ChatMessage, MockLLM
    from llamaindex_costguard import CostGuard, guard_llm

    guard = CostGuard(["1000000 requests/hour"])
    llm = guard_llm(MockLLM(max_tokens=5), guard, cache="memory://")
    for number in range(600):
        gc.set_threshold(20 + number % 97, 2, 2)
        cycle = {"stream": llm.stream_chat([ChatMessage(content=f"one two three {number}")])}
        cycle["self"] = cycle
        if number % 2:
            next(cycle["stream"])
        del cycle
    gc.set_threshold(700, 10, 10)
    gc.collect()
    row = guard.status()[0]
    print(int(row.spent), int(row.held))
"""


@pytest.mark.slow
def test_streams_that_the_garbage_collector_ends_never_wait_for_a_lock() -> None:
    program = textwrap.dedent(COLLECTED)
    done = run_python(program, check=False)
    assert (done.stdout.split(), done.returncode) == (["300", "0"], 0), done.stderr


@pytest.mark.parametrize("read", [False, True], ids=["never read", "read once"])
def test_a_dropped_stream_is_charged_if_it_was_made(read: bool) -> None:
    events: list[Event] = []
    guard = CostGuard(["9 requests/hour"], hooks=[events.append])  # type: ignore[list-item]
    chunks = guard_llm(MockLLM(max_tokens=5), guard).stream_chat([ChatMessage(content="one two three")])
    if read:
        next(chunks)
    assert int(guard.status()[0].held) == 1
    del chunks
    gc.collect()
    assert (int(guard.status()[0].held), int(guard.status()[0].spent)) == (0, int(read))
    assert [event.outcome for event in events] == [Outcome.ABANDONED] * read
