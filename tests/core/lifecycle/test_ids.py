"""Ids of calls: unique between processes, also where one is a fork of the other."""

from __future__ import annotations

import os

import pytest

from costguard_core.lifecycle.calls import CallIds

_WHO = slice(16, 32)  # of an id's 48 digits: who made it


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_makes_other_ids() -> None:
    new_id = CallIds()
    mine = new_id()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == len(mine) == 48
    assert theirs[_WHO] != mine[_WHO]
    assert new_id()[_WHO] == mine[_WHO]
