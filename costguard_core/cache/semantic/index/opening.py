"""The index of a semantic cache that is given none."""

from __future__ import annotations

import os
from typing import Any

from costguard_core.cache.semantic.index.chroma import ChromaIndex

_FOLDER = "costguard.chroma"


def open_index(
    space: str,
    *,
    path: str | os.PathLike[str] | None,
    url: str | None,
    client: Any,
    namespace: str,
    timeout: float,
) -> ChromaIndex:
    """A Chroma collection in a folder (by default in the current one), on a server, or of a client.

    Args:
        space: identifies the embedding model. Evidence belongs to one, so each has its own collection.

    Raises:
        ConfigurationError: more than one of ``path``, ``url`` and ``client``.
        MissingExtraError: Chroma is not installed.
    """
    if path is None and url is None and client is None:
        path = _FOLDER
    return ChromaIndex(path, url=url, client=client, name=f"{namespace}-{space}", timeout=timeout)
