"""The snippets of docs/budgets.md run as they are written, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "budgets.md").read_text()


def test_snippets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for snippet in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(compile(snippet, "budgets.md", "exec"), names)
    assert "granted: $25/day per user, user=u1: $50.00" in capsys.readouterr().out
