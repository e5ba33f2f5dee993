"""What stands in the way of every call stays short: the limits of ``benchmarks/call_count.py`` on our own functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "call_count.py"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import call_count
for name, found in call_count.measure().items():
    print(name, found.calls, call_count.LIMITS[name].calls, sep=", ")
"""


@pytest.mark.slow
def test_a_call_runs_through_no_more_functions_than_its_limit() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SCRIPT.parent)], capture_output=True, text=True, check=True
    )
    rows = [line.split(", ") for line in done.stdout.splitlines()]
    assert len(rows) == 4
    assert [row for row in rows if int(row[1]) > int(row[2])] == []
