"""A LangChain request as the semantic cache splits it, from the same canonical rows as the exact key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costguard_core.cache import CacheKey, Request, Uncacheable
from costguard_core.cache.identity import Identity
from costguard_core.cache.keys import Describe, canonical, nothing_else
from costguard_core.cache.semantic.query import Message, Role, fills_one_schema, is_from_agent, only_text
from costguard_core.types import Attribution
from langchain_costguard.translate.content import ChatContent, TextContent
from langchain_costguard.translate.keys import RequestKeys, _parsed, _request
from langchain_costguard.translate.messages import rows_of, rows_of_json

_ROLES: dict[str, Role] = {"system": "instructions", "developer": "instructions", "human": "user", "text": "user"}
_AGENT_ROWS = ("tool", "function")


@dataclass(frozen=True)
class SemanticChatRequest:
    """A chat request, or the text prompt of a completion model, as canonical rows."""

    keys: RequestKeys
    identity: Identity
    rows: Sequence[list[Any]]
    stop: Sequence[str] | None
    kwargs: Mapping[str, Any]
    attribution: Attribution
    describe: Describe = nothing_else

    known_question = None  # LangChain does not tell what a template was filled with
    objection = None

    @classmethod
    def of(cls, keys: RequestKeys, content: ChatContent) -> SemanticChatRequest:
        """From the request's objects.

        Raises:
            NotCanonical: a part has no exact written form.
        """
        model, messages, stop, kwargs, attribution = content
        return cls(keys, keys.models.of(model), rows_of(messages), stop, kwargs, attribution, keys._describe)

    @classmethod
    def of_strings(cls, keys: RequestKeys, content: TextContent) -> SemanticChatRequest:
        """From the strings that LangChain hands to a cache; a call that is known is believed instead.

        Raises:
            NotCanonical: a part has no exact written form.
        """
        stop, kwargs = content.stop, content.kwargs
        if content.model is None:
            identity, kwargs = _parsed(content.llm_string)
        else:
            identity = keys.models.of(content.model)
        rows = rows_of_json(content.prompt)
        rows = [["text", content.prompt]] if rows is None else rows
        return cls(keys, identity, rows, stop, kwargs, content.attribution)

    @property
    def messages(self) -> list[Message]:
        return [_message(row) for row in self.rows]

    @property
    def fills_schema(self) -> bool:
        return fills_one_schema(self.kwargs)

    def key(self) -> CacheKey | Uncacheable:
        return self.keys.policy.key(self._request(self.rows))

    def scope_parts(self, last_text: str) -> tuple[str, str]:
        kind, _, *more = self.rows[-1]
        around = self._request([*self.rows[:-1], [kind, last_text, *more]])
        # Who may read it is decided by the question, which is not in `around` any more.
        whole = self._request(self.rows)
        return around.digest, canonical(self.keys.policy.readers(whole))

    def _request(self, rows: Sequence[list[Any]]) -> Request:
        return _request(self.identity, rows, self.stop, self.kwargs, self.attribution, describe=self.describe)


def _message(row: Sequence[Any]) -> Message:
    kind, content = row[0], row[1]
    calls = len(row) > 2 and "calls" in row[2]
    text = only_text(content)
    from_agent = kind in _AGENT_ROWS or calls or (text is not None and is_from_agent(text))
    return Message(_ROLES.get(kind, "other"), text, from_agent)
