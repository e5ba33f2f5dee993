"""The README's snippets run as they are written, against the simulated provider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache

from costguard_core.simulate import Simulator
from langchain_costguard import uninstall

README = (Path(__file__).parent.parent / "README.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
EXPECTED_CALLS = {
    "install(guard": 1,
    'SemanticCache("wordllama"': 1,
    "CostGuardCallbackHandler(": 1,
    "GuardedChatModel(": 1,
    "TieredRouter(cheap=mini": 1,
    "guard_llm(": 1,
}


@pytest.fixture(autouse=True)
def _a_user_with_a_key(openai_server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "simulated")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_BASE", openai_server.base_url)
    yield
    uninstall()
    set_llm_cache(None)


@pytest.mark.parametrize("feature", EXPECTED_CALLS)
def test_snippet(feature: str, openai_server: Simulator, capsys: pytest.CaptureFixture[str]):
    [snippet] = [snippet for snippet in SNIPPETS if feature in snippet]
    exec(compile(snippet, "README.md", "exec"), {"__name__": "__main__"})
    assert openai_server.count == EXPECTED_CALLS[feature]
    assert capsys.readouterr().out.strip()


def test_every_snippet_is_run():
    assert len(SNIPPETS) == len(EXPECTED_CALLS)
