from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from costguard_core.cache.exact.stores import open_cache_store
from costguard_core.counters import open_store
from costguard_core.counters.base import Grant, Line, Window
from costguard_core.errors import ConfigurationError
from costguard_core.ledger import open_ledger
from costguard_core.util.urls import printable


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


def test_one_sqlite_url_serves_the_store_the_ledger_and_the_cache(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/all.db?timeout=2"
    with closing(open_store(url)) as store, closing(open_cache_store(url)) as cache, open_ledger(url) as ledger:
        assert isinstance(store.reserve("a", [Line("k", "usd", Window(), 10, 1)], lease=9.0), Grant)
        assert cache.get("k") is None
        assert list(ledger.events()) == []
    assert {path.suffix for path in tmp_path.iterdir()} <= {".db", ".db-wal", ".db-shm"}


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
        ("sqlite:///x.db?timeout=soon", "a number of seconds above 0"),
        ("sqlite:///x.db?timeout=-1", "a number of seconds above 0"),
        ("sqlite:///x.db?timeuot=1", "the only option"),
        ("sqlite:///x.db?", "the only option"),
        ("redis://:pw@[::1/0", "redis:// URL cannot be read: Invalid IPv6 URL"),
        ("redis://:pw@host\u2100/0", "redis:// URL cannot be read: its host is not valid"),
        ("", "cannot begin with"),
    ],
)
def test_other_urls_are_refused_with_what_to_write(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        open_store(url)


@pytest.mark.parametrize("url", ["redis://me:hush@h:1/0?password=hush", "redis:/me:hush@h:1/0", "http//me:hush@h"])
def test_what_is_printed_of_a_url_holds_no_password(url: str) -> None:
    assert "hush" not in printable(url)
    assert "h" in printable(url)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store("postgres://me:secret@host/db")
    assert "secret" not in str(caught.value)
