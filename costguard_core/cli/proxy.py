"""``costguard proxy``: an endpoint for OpenAI's and Anthropic's clients of any language."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from costguard_core.cli.printing import print_text

app = typer.Typer(add_completion=False)


@app.command()
def proxy(
    *,
    config: Annotated[
        Path | None, typer.Option(envvar="COSTGUARD_CONFIG", help="The policy file; its table `proxy` is for this.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Where to listen; 127.0.0.1 unless the file says otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 4000 unless the file says otherwise.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they need a store that they share.")] = 1,
    certificate: Annotated[Path | None, typer.Option(help="A PEM file, for TLS.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its PEM key.")] = None,
) -> None:
    """Serve OpenAI's and Anthropic's API under the rules of a policy file.

    Example: costguard proxy --config costguard.toml
    """
    from costguard_core.proxy.serve import serve

    serve(
        None if config is None else str(config),
        host=host,
        port=port,
        workers=workers,
        certificate=None if certificate is None else str(certificate),
        key=None if private_key is None else str(private_key),
        say=print_text,
    )
