"""``costguard demo``."""

from __future__ import annotations

import json as json_format
import os
from contextlib import nullcontext
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from costguard_core.errors import ConfigurationError, MissingExtraError

app = typer.Typer(add_completion=False)
_PAGE_WIDTH = 80  # characters of the page that --html writes
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")


@app.command()
def demo(
    *,
    base_url: Annotated[str | None, typer.Option(help="A real provider instead of the simulated one.")] = None,
    model: Annotated[str, typer.Option(help="The chat model that answers.")] = "gpt-4.1",
    cheap: Annotated[
        str, typer.Option(help="A cheaper model for the call sites that are simple; 'none': no routing.")
    ] = "gpt-4.1-mini",
    seed: Annotated[int, typer.Option(help="Another seed makes another day.")] = 7,
    fast: Annotated[bool, typer.Option("--fast", help="A provider that answers almost at once.")] = False,
    ledger: Annotated[str, typer.Option(help="Keep the record, e.g. sqlite:///demo.db.")] = "memory://",
    json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write what is printed as a page, too.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a real provider is paid.")] = False,
) -> None:
    """Replay a support bot's day without and with Costguard, and compare the bills. Offline, about a minute.

    Example: costguard demo --html demo.html
    """
    if find_spec("langchain_openai") is None or find_spec("starlette") is None:  # before anything slow is loaded
        raise MissingExtraError("the demo", "demo")
    from rich.console import Console

    progress, api_key = Console(stderr=True), _api_key(base_url)
    with progress.status("Loading LangChain …") if progress.is_terminal else nullcontext():
        from langchain_costguard.demo.run import BUDGETS, Settings, run_demo, worst_case
        from langchain_costguard.demo.table import show

    settings = Settings(
        model=model,
        cheap=None if cheap == "none" else cheap,
        base_url=base_url,
        api_key=api_key,
        seed=seed,
        fast=fast,
        ledger=ledger,
    )
    if base_url and not _is_local(base_url) and not yes:
        warning = f"This pays {urlsplit(base_url).hostname} for two runs, up to {worst_case(settings)}. Go on?"
        typer.confirm(warning, abort=True, err=True)
    comparison = run_demo(settings, progress_to=progress)
    if html is not None:
        page = Console(record=True, file=StringIO(), width=_PAGE_WIDTH)
        show(comparison, title=settings.title(comparison), budgets=BUDGETS, console=page)
        html.write_text(page.export_html(), encoding="utf-8")
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
