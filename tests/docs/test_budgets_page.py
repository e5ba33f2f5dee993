"""The snippets of docs/budgets.md and docs/incidents.md run as they are written, one after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from costguard_core import CostGuard
from costguard_core.policy import parse_policy

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    ("page", "printed"),
    [
        ("budgets.md", "granted: $25/day per user, user=u1: $50.00"),
        ("incidents.md", "stopped: session=chat-7 until"),
    ],
)
def test_snippets(
    page: str, printed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    text = (DOCS / page).read_text()
    for snippet in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        exec(compile(snippet, page, "exec"), names)
    assert printed in capsys.readouterr().out


def test_the_policy_of_the_incidents_page_can_be_used() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", (DOCS / "incidents.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    policy = parse_policy(text, {})
    assert policy.emergency["max_input"] == 4000
    CostGuard(policy.budgets, **policy.options).close()
