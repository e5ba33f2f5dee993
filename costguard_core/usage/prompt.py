"""A prompt as it is counted: its texts, and what else is in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from costguard_core.usage.media import Media
from costguard_core.usage.overhead import sealed_tokens
from costguard_core.usage.token_counter import Count, Message, TokenCounter

_USERS = ("user", "human")


class ReadPrompt(NamedTuple):
    """What the messages of a request are made of.

    Attributes:
        messages: role and text of each, and a name where it has one.
        texts: the roles and texts, one after the other, which tell one prompt from another.
        media: what else is in them.
        caches: they have breakpoints for the provider's own prompt cache.
        sealed: letters of encrypted thoughts, with the number of the message that has them.
        rewritten: there are calls of tools, which vendors write in a form of their own.
        tokens: of parts that came as numbers of tokens.
        caches_for_hour: one of the breakpoints asks for an hour.
    """

    messages: Sequence[Message]
    texts: Sequence[str]
    media: Sequence[Media] = ()
    caches: bool = False
    sealed: Sequence[tuple[int, int]] = ()
    rewritten: bool = False
    tokens: int = 0
    caches_for_hour: bool = False

    @property
    def size(self) -> int:
        """About how long it takes to count: its characters, and the bytes of what is no text."""
        size = sum(map(len, self.texts))
        return size + sum([len(part.data or b"") for part in self.media]) if self.media else size

    def letters(self) -> int:
        """How many characters of text its messages have."""
        return sum([len(message[1]) for message in self.messages])

    def counted(
        self, tokens: TokenCounter, model: str, provider: str | None, described: str | None, hidden: int
    ) -> Count:
        """Its tokens, with tools that are ``described`` to the model and those that the provider adds (``hidden``)."""
        return tokens.count_chat(
            self.messages,
            model=model,
            provider=provider,
            tools_json=described,
            media=self.media,
            hidden=hidden + self.tokens + (self._sealed_tokens(model, provider) if self.sealed else 0),
            rewritten=self.rewritten,
        )

    def _sealed_tokens(self, model: str, provider: str | None) -> int:
        """Tokens of encrypted thoughts, at most."""
        asked = max((at for at, message in enumerate(self.messages) if message[0] in _USERS), default=-1)
        letters, in_turn = (sum(size for at, size in self.sealed if at > first) for first in (-1, asked))
        return sealed_tokens(letters, model, provider, in_turn=in_turn)
