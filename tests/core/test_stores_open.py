from __future__ import annotations

from pathlib import Path

import pytest

from costguard_core.errors import ConfigurationError
from costguard_core.stores import open_store
from costguard_core.stores.base import Grant, Line, Window


def test_memory() -> None:
    store = open_store("memory://", clock=lambda: 7.0)
    assert (store.url, store.now()) == ("memory://", 7.0)
    assert open_store("memory://") is not open_store("memory://")


def test_sqlite_relative_and_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///relative.db", f"sqlite:///{tmp_path}/absolute.db"):
        store = open_store(url, clock=lambda: 7.0)
        assert store.url == url
        monkeypatch.chdir("/")  # where the file is was decided when it was opened
        assert isinstance(store.reserve("a", [Line("k", "usd", Window(), 10, 1)], lease=9.0), Grant)
        store.close()
        monkeypatch.chdir(tmp_path)
    assert {path.name for path in tmp_path.glob("*.db")} == {"relative.db", "absolute.db"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqllite:///x.db", 'Did you mean "sqlite://"'),
        ("reddis://h", 'Did you mean "redis'),
        ("costguard.db", "sqlite:///relative.db"),
        ("sqlite://", "needs a file"),
        ("sqlite:///", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite://x.db", "needs a file"),
        ("", "cannot begin with"),
    ],
)
def test_other_urls_are_refused_with_what_to_write(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_store(url)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store("postgres://me:secret@host/db")
    assert "secret" not in str(caught.value)
