"""docs/reference.md is what the docstrings say, and the URLs that it names can be opened."""

from __future__ import annotations

import re
import sys

import pytest
from documents import ROOT

import langchain_costguard
import llamaindex_costguard
from costguard_core.counters import open_store

PAGE = (ROOT / "docs" / "reference.md").read_text()


def test_it_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    import reference

    try:
        assert PAGE == reference.reference(), "run `make reference`"
    finally:
        del sys.modules["reference"]


@pytest.mark.parametrize("name", sorted({*langchain_costguard.__all__, *llamaindex_costguard.__all__}))
def test_every_public_name_is_described(name: str) -> None:
    entry = PAGE.partition(f"\n### {name}\n")[2].partition("\n#")[0]
    assert len(entry.split()) >= 5


@pytest.mark.parametrize("form", re.findall(r"^\| store[^|]*\| (.+?) \|", PAGE, flags=re.MULTILINE))
def test_its_store_urls_are_understood(form: str) -> None:
    """A URL that cannot be read is an error when it is opened; a server that is not there, when it is asked."""
    for url in re.findall(r"`([^`]+)`", form):
        if "absolute" not in url and "…" not in url:
            open_store(url).close()
