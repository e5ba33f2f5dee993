"""``costguard serve``: the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.arguments import AnyLedgerUrl, Zone
from costguard_core.cli.cache_options import Embedding, Name
from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    *,
    config: Annotated[
        Path | None, typer.Option(envvar="COSTGUARD_CONFIG", help="The policy file: ledger, store and budgets.")
    ] = None,
    db: AnyLedgerUrl = None,
    store: Annotated[str | None, typer.Option(envvar="COSTGUARD_STORE", help="The counter store: a URL.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; elsewhere than here only with a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port.")] = 8765,
    token: Annotated[
        str | None,
        typer.Option(envvar="COSTGUARD_TOKEN", help="What a browser must show; with it, it may stop spending."),
    ] = None,
    timezone: Zone = "UTC",
    chroma: Annotated[
        str | None,
        typer.Option("--chroma", help="A semantic cache to review: its folder or the URL of its server. With a token."),
    ] = None,
    name: Name = None,
    embedding: Embedding = "wordllama",
) -> None:
    """Serve the page: where the money goes, against the budgets, and what saves.

    Example: costguard serve --db costguard.db, then open http://127.0.0.1:8765
    """
    from costguard_core.web.serve import serve_page

    review = None
    if chroma is not None:
        from costguard_core.web.cache_review import CacheReview

        review = CacheReview(chroma, name, embedding)
    serve_page(
        None if config is None else str(config),
        db=db,
        store=store,
        host=host,
        port=port,
        token=token,
        timezone=timezone,
        review=review,
        say=print_text,
    )
