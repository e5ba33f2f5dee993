"""docs/reports.md runs as it is written, and every command in it is one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from python_process import run_python
from typer.testing import CliRunner

from costguard_core.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "reports.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^\$ costguard (.*)$", PAGE, flags=re.MULTILINE)


def test_the_page_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [snippet] = SNIPPETS
    exec(compile(snippet, "reports.md", "exec"), {"__name__": "__main__"})
    for command in COMMANDS:
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 0, (command, result.output)
    assert {command.split()[0] for command in COMMANDS} == {"report", "ledger"}
    for verb in ("economics ticket", "explain", "forecast"):
        assert CliRunner().invoke(app, verb.split()).exit_code == 0


def test_a_report_loads_neither_the_guard_nor_a_library_for_tables(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom costguard_core.ledger import open_ledger\n"
        f"open_ledger('sqlite:///{tmp_path}/l.db').close()\n"
        "from costguard_core.cli.main import app\n"
        f"try: app(['report', '--db', '{tmp_path}/l.db'])\nexcept SystemExit: pass\n"
        "heavy = {'rich', 'costguard_core.guard', 'costguard_core.budgets', 'genai_prices', 'tiktoken', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    assert run_python(code).stderr.strip().splitlines()[-1] == "[]"
