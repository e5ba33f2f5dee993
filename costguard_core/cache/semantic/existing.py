"""A semantic cache that an application filled, opened by whoever looks into it: the command line and the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from costguard_core.cache.semantic.embeddings import fingerprint, local_model_of, margin_of_cache, open_local
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index.base import IndexUnavailable, Vector
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.opening import open_shared
from costguard_core.cache.semantic.index.shared import SharedIndex
from costguard_core.errors import ConfigurationError

_FINGERPRINT = re.compile(r"-[0-9a-f]{12}$")  # of an embedding model, in the name of a cache that was given no index


@contextmanager
def opened(
    where: str, name: str | None, *, claim: bool = True, decide: str = "calibrated", embedding: str | None = None
) -> Iterator[SemanticEngine]:
    """The cache at a place: a folder, a SQLite file or a URL.

    Args:
        where: the place.
        name: which cache, where there are several.
        claim: to write to it.
        decide: how it decides.
        embedding: ``"wordllama"`` or ``"minilm"``, which tells several caches apart, too.

    Raises:
        ConfigurationError: there is none, it cannot be used now, it is not clear which, or it has another embedding.
    """
    try:
        name = _named(where, name, embedding)
        if embedding is not None:
            _check_embedding(name, embedding)
        with closing(_index(where, name, claim=claim)) as index:
            yield SemanticEngine(index, decide=decide, z=margin_of_cache(name))  # type: ignore[arg-type]
    except IndexUnavailable as error:
        hint = "; a folder belongs to one process" if Path(where).is_dir() else ""
        raise ConfigurationError(f"{where} cannot be used now ({error}){hint}") from error


def _index(where: str, name: str, *, claim: bool = False) -> ChromaIndex | SharedIndex:
    path = where.removeprefix("sqlite:///").partition("?")[0]
    if "://" not in path and not Path(path).exists():
        raise ConfigurationError(f"there is no semantic cache at {where!r}")
    if Path(where).is_file():
        where = f"sqlite:///{where}"
    if "://" in where:
        return open_shared(where, name=name, timeout=10) or ChromaIndex(url=where, name=name, timeout=10)
    return ChromaIndex(where, name=name, claim=claim)


def _named(where: str, name: str | None, embedding: str | None) -> str:
    """The cache to open: the one named, the only one, or the one of the embedding model."""
    if name is not None:
        return name
    with closing(_index(where, "-")) as index:
        names = index.names()
    if not names:
        raise ConfigurationError(f"nothing at {where!r} is a semantic cache that has stored or learned anything")
    if len(names) == 1:
        return names[0]
    if embedding is not None:
        mine = fingerprint("local", open_local(embedding).name)
        own = [one for one in names if one.endswith(mine)]
        if len(own) == 1:
            return own[0]
    raise ConfigurationError(f"choose with --cache: {', '.join(names)}")


def _check_embedding(cache: str, embedding: str) -> None:
    """Refuse what is embedded otherwise: nothing would be near to anything, or the wrong things."""
    made_with = local_model_of(cache)
    if made_with == embedding or _FINGERPRINT.search(cache) is None:
        return
    remedy = "a model of the application's, which is not asked from here: explain, refute and seed it from Python"
    if made_with is not None:
        remedy = f"{made_with!r}: say --embedding {made_with}"
    raise ConfigurationError(f"the cache {cache!r} embeds its questions with {remedy}")


def embedder(embedding: str) -> Callable[[str], Vector]:
    """``"wordllama"`` or ``"minilm"``, loaded once.

    Raises:
        ConfigurationError: it is none of these.
        MissingExtraError: it is not installed.
    """
    model = open_local(embedding)
    return lambda text: model.embed([text])[0]
