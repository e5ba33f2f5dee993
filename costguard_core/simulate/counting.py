"""How many tokens a request has, and how many of them the provider has seen before."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

from costguard_core.simulate.request import GenerationRequest
from costguard_core.util.lru import LRUMap

Count = Callable[[str, str], int]
"""Tokens of a text (second) for a model (first)."""

_PIECE = re.compile(r"\s*\S+\s*?")


def cut_to(model: str, text: str, limit: int, count: Count) -> str:
    """The longest run of whole words from the start of ``text`` within ``limit`` tokens."""
    pieces = _PIECE.findall(text)
    low, high = 0, min(len(pieces), max(limit, 0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(model, "".join(pieces[:middle])) <= limit else (low, middle - 1)
    return "".join(pieces[:low])


def pieces_of(text: str, size: int = 5) -> list[str]:
    """``text`` in the portions in which a stream delivers it; joined they are ``text`` again."""
    words = re.findall(r"\s*\S+|\s+$", text)
    return ["".join(words[at : at + size]) for at in range(0, len(words), size)]


class PromptCache:
    """The provider's own prompt cache, as OpenAI describes it: prefixes of 1,024 tokens and more, in steps of 128.

    The prefix is compared in blocks of characters and scaled to tokens, so the number is near, not exact.
    """

    _BLOCK = 256
    _FEWEST, _STEP = 1024, 128

    def __init__(self, *, entries: int = 50_000) -> None:
        self._seen: LRUMap[bytes, bool] = LRUMap(entries)

    def hit(self, request: GenerationRequest, prompt_tokens: int) -> int:
        """Cached tokens of this prompt; the prompt is remembered for the next one."""
        if prompt_tokens < self._FEWEST:
            return 0
        text = "\x1e".join([request.model, request.tools_json, *(f"{m.role}\x1f{m.text}" for m in request.messages)])
        known, digest, unbroken = 0, hashlib.blake2b(digest_size=16), True
        for at in range(0, len(text) - self._BLOCK + 1, self._BLOCK):
            digest.update(text[at : at + self._BLOCK].encode(errors="surrogatepass"))
            unbroken = self._remember(digest.digest()) and unbroken
            known += unbroken
        tokens = prompt_tokens * known * self._BLOCK // max(1, len(text))
        return tokens // self._STEP * self._STEP if tokens >= self._FEWEST else 0

    def _remember(self, key: bytes) -> bool:
        was_there = key in self._seen
        self._seen.put(key, True)
        return was_there

    def clear(self) -> None:
        self._seen.clear()
