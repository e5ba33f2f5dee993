"""What the trials share: a table of promises and of what was seen, servers of their own, and one call of a known price.

A trial is a program that breaks something real (a process, a server, a clock) while calls run. It prints one line for
each promise of ``docs/production.md``, and ends with exit code 1 when one of them was not kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]  # works in a checkout that is not installed

from costguard_core import Attribution, Call, CostGuard, SpendLimitExceeded, Usage  # noqa: E402
from costguard_core.errors import StoreUnavailable  # noqa: E402
from costguard_core.simulate import ScriptedReply  # noqa: E402

MODEL = "trial-model"
ANSWER_TOKENS = 100
# A call holds exactly what it costs: the prompt is free, and an answer of 100 tokens, its limit, costs one cent.
PRICES = {MODEL: {"input": "0", "output": "100"}}
CENT = 10_000_000  # nano-dollars


@dataclass
class Trial:
    """The promises of one trial and what became of them.

    Attributes:
        name: of the trial, as in the table of the documentation.
        options: the command line's.
        rows: one per promise: what is promised, what was seen, whether it was kept (``None``: a figure, no promise).
    """

    name: str
    options: argparse.Namespace
    rows: list[dict[str, Any]] = field(default_factory=list)

    def row(self, promised: str, seen: object, *, kept: bool | None = None) -> None:
        """Note one promise. ``kept=None``: only measured."""
        self.rows.append({"promised": promised, "seen": str(seen), "kept": kept})
        if not self.options.json:
            print(f"  {_MARKS[kept]} {promised}: {seen}", flush=True)

    def finish(self) -> None:
        """Print what was seen, and end the program: with exit code 1 when a promise was broken."""
        broken = sum(row["kept"] is False for row in self.rows)
        if self.options.json:
            about = {"trial": self.name, "python": platform.python_version(), "rows": self.rows}
            print(json.dumps(about, indent=2))
        else:
            print(f"{self.name}: {broken} of {len(self.rows)} broken" if broken else f"{self.name}: all kept")
        sys.exit(1 if broken else 0)


_MARKS = {True: "kept  ", False: "BROKEN", None: "      "}


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """A command line with the options that every trial has. ``text`` is its docstring."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser


def started(name: str, parser: argparse.ArgumentParser) -> Trial:
    """Read the command line and begin."""
    trial = Trial(name, parser.parse_args())
    if not trial.options.json:
        print(name, flush=True)
    return trial


@contextmanager
def folder() -> Iterator[Path]:
    """A directory for the files of a trial, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="costguard-trial-") as name:
        yield Path(name)


def scripted(*_: object) -> ScriptedReply:
    """What the simulated provider answers: as many tokens as were allowed."""
    return {"content": "An answer.", "output_tokens": ANSWER_TOKENS}


def a_call(guard: CostGuard, user: str | None = None) -> Call:
    """A call that costs one cent."""
    who = Attribution(user=user)
    return Call(guard.new_id(), MODEL, guard.clock(), attribution=who, input_tokens=10, max_output_tokens=ANSWER_TOKENS)


USED = Usage(input_tokens=10, output_tokens=ANSWER_TOKENS)


def outcome(guard: CostGuard, user: str | None = None) -> str:
    """Make one call: ``paid``, ``refused`` (a budget said no) or ``unavailable`` (the counters could not be asked)."""
    try:
        permit = guard.before(a_call(guard, user))
    except SpendLimitExceeded:
        return "refused"
    except StoreUnavailable:
        return "unavailable"
    guard.after(permit, USED)
    return "paid"


def until(condition: Callable[[], object], *, seconds: float = 120.0, pause: float = 0.02) -> float:
    """Seconds until ``condition()`` is true.

    Raises:
        TimeoutError: it did not become true in time.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"still not so after {seconds:g} s")
        time.sleep(pause)
    return time.monotonic() - start
