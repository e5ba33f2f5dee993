"""Embedding models that run in this process without a download and without torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.rules.core import core
from costguard_core.errors import ConfigurationError, MissingExtraError
from costguard_core.util.options import nearest

_MOST_TOKENS = 256
_MINILM_FOLDER = Path(".cache") / "chroma" / "onnx_models" / "all-MiniLM-L6-v2" / "onnx"


class LocalEmbedding(Protocol):
    """``name`` identifies the vectors: another model, another name."""

    name: str

    def embed(self, texts: Sequence[str]) -> list[list[float]]: ...


def fingerprint(*identity: object) -> str:
    """A short name of everything that changes a vector: provider, model, size, endpoint."""
    return digest("space", repr(identity))[:12]


def open_local(name: str) -> LocalEmbedding:
    """``"wordllama"`` or ``"minilm"``.

    Raises:
        ConfigurationError: another name, or MiniLM's files are not there.
        MissingExtraError: the package that runs it is not installed.
    """
    if name == "wordllama":
        return WordLlamaEmbedding()
    if name == "minilm":
        return MiniLMEmbedding()
    raise ConfigurationError(
        f'embeddings={name!r} is not known; use "wordllama", "minilm" or an embedding model.'
        f"{nearest(name, ('wordllama', 'minilm'))}"
    )


def margin_of(name: str) -> float:
    """Standard deviations by which the promise must hold with the embedding model of this name (docs/decisions.md)."""
    return 1.64 if name.startswith("wordllama") else 1.15


def local_model_of(cache: str) -> str | None:
    """``"wordllama"`` or ``"minilm"``, if that is the model of the cache of this name, which ends with its
    fingerprint."""
    models = {"wordllama": WordLlamaEmbedding.name, "minilm": MiniLMEmbedding.name}
    return next((name for name, model in models.items() if cache.endswith(fingerprint("local", model))), None)


def margin_of_cache(name: str) -> float:
    """:func:`margin_of` for the cache of this name."""
    return margin_of(local_model_of(name) or "")


class WordLlamaEmbedding:
    """256 numbers from weights inside the wordllama wheel: 0.1 ms a question.

    They are the mean over the words, so what a question is opened and closed with is left out: see
    :func:`~costguard_core.cache.semantic.rules.core.core`.
    """

    name = "wordllama-l2_supercat-256-core"

    def __init__(self) -> None:
        wordllama = _wordllama()
        # With its own default folder it does not find the weights that it brought, and tries to download them.
        folder = Path(wordllama.__file__).parent
        self._model: Any = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._model.embed([core(text) for text in texts], norm=True).tolist()
        return vectors


def _wordllama() -> Any:
    """The package. It sets up the root logger when it is imported, which is the application's to decide: undone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        import wordllama  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError('embeddings="wordllama"', "wordllama") from None
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return wordllama


class MiniLMEmbedding:
    """384 numbers from the ONNX files that Chroma downloads for itself, run without padding: 6 ms instead of 178."""

    name = "all-MiniLM-L6-v2-onnx-384"

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path.home() / _MINILM_FOLDER
        if not (folder / "model.onnx").exists():
            raise ConfigurationError(
                f"MiniLM's files are not in {folder}. Let Chroma fetch them once (about 80 MB): python -c \"from "
                "chromadb.utils.embedding_functions import DefaultEmbeddingFunction as D; D()(['hello'])\""
            )
        try:
            from onnxruntime import InferenceSession, SessionOptions  # type: ignore[import-untyped]
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtraError('embeddings="minilm"', "chroma") from None
        options = SessionOptions()
        options.intra_op_num_threads = 1
        self._session: Any = InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
        self._tokens: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokens.no_padding()
        self._tokens.enable_truncation(_MOST_TOKENS)

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> list[float]:
        import numpy as np

        ids = np.array([self._tokens.encode(text).ids], dtype=np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        wanted = {node.name for node in self._session.get_inputs()}
        hidden = self._session.run(None, {name: value for name, value in given.items() if name in wanted})[0]
        pooled = hidden[0].mean(axis=0)
        vector: list[float] = (pooled / np.linalg.norm(pooled)).tolist()
        return vector
