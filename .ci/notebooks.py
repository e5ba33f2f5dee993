"""Executes every notebook, offline. The percent script beside a notebook is its source; the notebook holds the outputs.

Without options: checks that each committed notebook has the cells of its script and outputs of its own, and that the
script still runs. With ``--write``: writes what it ran.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS_PER_NOTEBOOK = 60  # on a machine of two cores that does nothing else
NOWHERE = "http://127.0.0.1:9"  # a proxy that does not exist: only this machine can be reached


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="write the executed notebooks")
    write = options.parse_args().write
    os.environ |= {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "no_proxy": "127.0.0.1,localhost"}
    os.environ.pop("OPENAI_API_KEY", None)
    scripts = sorted(FOLDER.glob("*.py"))
    if alone := {path.stem for path in FOLDER.glob("*.ipynb")} - {path.stem for path in scripts}:
        sys.exit(f"notebooks without a script: {sorted(alone)}")
    for script in scripts:
        started, used = time.monotonic(), _cpu_seconds()
        if not write:
            _check_committed(script)
        notebook = _execute(script)
        seconds, busy = time.monotonic() - started, _cpu_seconds() - used
        print(f"{script.stem}: {seconds:.0f} s, {busy:.0f} s of them computing", flush=True)
        if min(seconds, busy) > SECONDS_PER_NOTEBOOK:  # a machine with other work is slow, the notebook need not be
            sys.exit(f"{script.stem} takes longer than {SECONDS_PER_NOTEBOOK} s")
        if write:
            nbformat.write(notebook, script.with_suffix(".ipynb"))


def _cpu_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _execute(script: Path) -> nbformat.NotebookNode:
    notebook = jupytext.read(script)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # random ids and times would make every run a new diff
    folder = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=120, record_timing=False, resources=folder).execute()
    return notebook


def _check_committed(script: Path) -> None:
    notebook = script.with_suffix(".ipynb")
    if not notebook.exists():
        sys.exit(f"{script.stem}: there is no {notebook.name}: make notebooks")
    committed = nbformat.read(notebook, as_version=4)
    if _cells(committed) != _cells(jupytext.read(script)):
        sys.exit(f"{script.stem}: the notebook differs from its script: make notebooks")
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    if not all(cell.execution_count for cell in code) or not any(cell.outputs for cell in code):
        sys.exit(f"{script.stem}: the notebook is committed without its outputs: make notebooks")


def _cells(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


if __name__ == "__main__":
    main()
