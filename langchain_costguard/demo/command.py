"""``costguard demo``."""

from __future__ import annotations

import json as json_format
import os
from contextlib import nullcontext
from typing import Annotated
from urllib.parse import urlsplit

import typer

from costguard_core.errors import ConfigurationError

app = typer.Typer()
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


@app.command()
def demo(
    *,
    base_url: Annotated[str | None, typer.Option(help="A real provider instead of the simulated one.")] = None,
    model: Annotated[str, typer.Option(help="The chat model that answers.")] = "gpt-4.1",
    cheap: Annotated[
        str | None, typer.Option(help="A cheaper model for the simple call sites, e.g. gpt-4.1-mini: routing, too.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed makes another day.")] = 7,
    fast: Annotated[bool, typer.Option("--fast", help="A provider that answers almost at once.")] = False,
    ledger: Annotated[str, typer.Option(help="Keep the record, e.g. sqlite:///demo.db.")] = "memory://",
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a real provider is paid.")] = False,
) -> None:
    """Replay a support bot's day without and with Costguard, and compare the bills. Offline, about a minute."""
    from rich.console import Console

    progress, api_key = Console(stderr=True), _api_key(base_url)
    with progress.status("Loading LangChain …") if progress.is_terminal else nullcontext():
        from langchain_costguard.demo.run import BUDGETS, Settings, run_demo, worst_case
        from langchain_costguard.demo.table import show

    settings = Settings(
        model=model, cheap=cheap, base_url=base_url, api_key=api_key, seed=seed, fast=fast, ledger=ledger
    )
    if base_url and not _is_local(base_url) and not yes:
        warning = f"This pays {urlsplit(base_url).hostname} for two runs, up to {worst_case(settings)}. Go on?"
        typer.confirm(warning, abort=True, err=True)
    comparison = run_demo(settings, progress_to=progress)
    if json:
        typer.echo(json_format.dumps(comparison.to_dict(), indent=2))
    else:
        show(comparison, title=settings.title(comparison), budgets=BUDGETS, console=Console())


def _api_key(base_url: str | None) -> str:
    if base_url is None or _is_local(base_url):
        return os.environ.get("OPENAI_API_KEY") or "simulated"
    if not os.environ.get("OPENAI_API_KEY"):
        raise ConfigurationError(f"a provider at {urlsplit(base_url).hostname} needs a key: set OPENAI_API_KEY")
    return os.environ["OPENAI_API_KEY"]


def _is_local(base_url: str) -> bool:
    return urlsplit(base_url).hostname in _THIS_MACHINE
