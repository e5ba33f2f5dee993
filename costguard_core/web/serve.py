"""Running the page under uvicorn."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.guard import CostGuard
from costguard_core.ledger import open_ledger
from costguard_core.policy import load_policy
from costguard_core.pricing.price_file import book_of
from costguard_core.web.app import Page, create_page

if TYPE_CHECKING:
    from costguard_core.web.cache_review import CacheReview

_LEDGER = "sqlite:///costguard.db"
_SHORTEST_TOKEN = 16  # characters


def serve_page(
    path: str | None = None,
    *,
    db: str | None = None,
    store: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    timezone: str = "UTC",
    review: CacheReview | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until interrupted.

    Args:
        path: a policy file, whose ledger, store and budgets are used; ``None``: there is none.
        db: the ledger; wins over the file.
        store: the counter store; wins over the file.
        host, port: where to listen.
        token: what a browser must show; needed on any host but this machine.
        timezone: whose hours and days are shown: an IANA name or ``"local"``.
        review: a semantic cache to look at and to judge, which takes a token.
        say: told the address.

    Raises:
        ConfigurationError: an option cannot be used.
        MissingExtraError: the extra ``web`` is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise MissingExtraError("costguard serve", "web") from None
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ConfigurationError(f"a token has at least {_SHORTEST_TOKEN} characters: openssl rand -hex 16 makes one")
    if token is None and not _is_local(host):
        raise ConfigurationError(f"everybody who reaches {host} could read the page: give it a --token")
    if token is None and review is not None:
        raise ConfigurationError("the questions and answers of a cache are shown only with a --token")
    page = open_page(path, db=db, store=store, token=token, timezone=timezone, review=review)
    say(f"costguard on http://{host}:{port}")
    uvicorn.run(create_page(page), host=host, port=port, log_level="warning", access_log=False, server_header=False)


def open_page(
    path: str | None = None,
    *,
    db: str | None = None,
    store: str | None = None,
    token: str | None = None,
    timezone: str = "UTC",
    review: CacheReview | None = None,
) -> Page:
    """The page of a policy file, or of a ledger and a store alone.

    Raises:
        ConfigurationError: the ledger is in memory or is not there, or the file cannot be used.
    """
    policy = None if path is None else load_policy(path)
    options = {} if policy is None else dict(policy.options)
    ledger_url = db or options.get("ledger") or _LEDGER
    ledger_url = ledger_url if "://" in ledger_url else f"sqlite:///{ledger_url}"
    store_url = store or options.get("store")
    if ledger_url.startswith("memory:"):
        raise ConfigurationError("memory:// lives inside the application's process: give its ledger a file or a server")
    prices = book_of(options)
    ledger = open_ledger(ledger_url, read_only=True)
    if store_url is None or store_url.startswith("memory:"):
        return Page(ledger, token=token, timezone=timezone, prices=prices, review=review)
    if "://" not in store_url:
        store_url = f"sqlite:///{Path(store_url)}"
    # With a token the page may change limits, and who did so is recorded in the ledger.
    budgets = () if policy is None else policy.budgets
    guard = CostGuard(budgets, store=store_url, ledger="memory://" if token is None else ledger_url)
    return Page(
        ledger,
        read_status=lambda: guard.status(limit=200),
        trip=guard.trip,
        reset=guard.reset,
        controls=guard,
        token=token,
        timezone=timezone,
        prices=prices,
        review=review,
    )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
