"""Which cache the commands of ``costguard cache`` open."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costguard_core.cache.semantic.engine import SemanticEngine

Chroma = Annotated[
    str,
    typer.Option("--chroma", envvar="COSTGUARD_CHROMA", help="Its folder or file, or the URL of a server."),
]
Name = Annotated[str | None, typer.Option("--cache", help="Which cache, if there are several (stats lists them).")]
Scope = Annotated[str | None, typer.Option(help="First characters of a scope (stats lists them).")]
Embedding = Annotated[str, typer.Option(help="The cache's embedding model: wordllama or minilm.")]


DEFAULT = "costguard.chroma"


def opened(
    where: str, name: str | None, *, claim: bool = True, decide: str = "calibrated", embedding: str | None = None
) -> AbstractContextManager[SemanticEngine]:
    """:func:`costguard_core.cache.semantic.existing.opened`, which takes a while to import."""
    from costguard_core.cache.semantic.existing import opened

    return opened(where, name, claim=claim, decide=decide, embedding=embedding)
