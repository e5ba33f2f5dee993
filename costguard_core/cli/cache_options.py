"""Which cache the commands of ``costguard cache`` open, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from costguard_core.cache.semantic.engine import SemanticEngine
    from costguard_core.cache.semantic.index.chroma import ChromaIndex
    from costguard_core.cache.semantic.index.remote import RemoteIndex

Chroma = Annotated[str, typer.Option("--chroma", envvar="COSTGUARD_CHROMA", help="The folder, or the URL of a server.")]
Name = Annotated[str | None, typer.Option("--cache", help="Which cache, if there are several (stats lists them).")]
Scope = Annotated[str | None, typer.Option(help="First characters of a scope (stats lists them).")]
Embedding = Annotated[str, typer.Option(help="The cache's embedding model: wordllama or minilm.")]


DEFAULT = "costguard.chroma"


@contextmanager
def opened(
    where: str, name: str | None, *, claim: bool = True, decide: str = "calibrated", embedding: str | None = None
) -> Iterator[SemanticEngine]:
    """The cache at a place; ``claim``: to write to it."""
    from costguard_core.cache.semantic.engine import SemanticEngine
    from costguard_core.cache.semantic.index.base import IndexUnavailable

    try:
        with closing(_index(where, _named(where, name, embedding), claim=claim)) as index:
            yield SemanticEngine(index, decide=decide)  # type: ignore[arg-type]
    except IndexUnavailable as error:
        raise ConfigurationError(f"{where} cannot be used now ({error}); a folder belongs to one process") from error


def _index(where: str, name: str, *, claim: bool = False) -> ChromaIndex | RemoteIndex:
    from costguard_core.cache.semantic.index.chroma import ChromaIndex
    from costguard_core.cache.semantic.index.opening import open_server

    if "://" in where:
        return open_server(where, name=name, timeout=10) or ChromaIndex(url=where, name=name, timeout=10)
    if not Path(where).exists():
        raise ConfigurationError(f"there is no semantic cache at {where!r}")
    return ChromaIndex(where, name=name, claim=claim)


def _named(where: str, name: str | None, embedding: str | None) -> str:
    """The cache to open: the one named, the only one, or the one of the embedding model."""
    from costguard_core.cache.semantic.embeddings import fingerprint, open_local

    if name is not None:
        return name
    with closing(_index(where, "-")) as index:
        names = index.names()
    if not names:
        raise ConfigurationError(f"the semantic cache at {where!r} is empty")
    if len(names) == 1:
        return names[0]
    if embedding is not None:
        mine = fingerprint("local", open_local(embedding).name)
        own = [one for one in names if one.endswith(mine)]
        if len(own) == 1:
            return own[0]
    raise ConfigurationError(f"choose with --cache: {', '.join(names)}")
