"""The README: its snippet prints what stands below it, and it is as short as a first page must be."""

from __future__ import annotations

import re

import pytest
from documents import ROOT, read_blocks

from costguard_core.simulate import Simulator

README = (ROOT / "README.md").read_text()
MOST_WORDS = 1200


def test_the_snippet_prints_what_stands_below_it(
    openai_server: Simulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "77")  # room for any latency, and for no further column
    blocks = read_blocks("README.md")
    [place] = [place for place, block in enumerate(blocks) if block.language == "python"]
    blocks[place].run({"__name__": "__main__"})
    printed, shown = capsys.readouterr().out, blocks[place + 1].text
    assert openai_server.count == 1
    assert _without_latency(printed) == _without_latency(shown)


def _without_latency(table: str) -> list[list[str]]:
    """The cells of each line without the last, the latency: it is another one each time, and the rules are as wide."""
    lines = [line for line in table.splitlines() if not line.startswith("─")]
    return [re.sub(r"\S+ m?s$", "", line).split() for line in lines]


def test_it_can_be_read_in_five_minutes() -> None:
    assert len(README.split()) <= MOST_WORDS
