"""Programs that need a Python process of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any


def run_python(
    program: str, *arguments: object, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``program`` to its end. It has as long as its test has: a busy machine takes its time to start Python.

    Raises:
        AssertionError: it failed, unless ``check`` is false; with what it wrote to stderr.
    """
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0 or not check, done.stderr
    return done


def start_python(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start ``program`` and go on; what it writes can be read from its pipes."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
