"""A LangChain request → its question, and the scope that is everything else, from the same canonical parts as the
exact key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage

from costguard_core.cache import CachePolicy, NotCanonical, Request, Uncacheable
from costguard_core.cache.keys import CacheKey, canonical, digest, scope_of
from costguard_core.cache.semantic.hit import Asked
from costguard_core.cache.semantic.question import LONGEST, SCOPE_VERSION, is_more_than_a_question, split
from costguard_core.types import Attribution
from langchain_costguard.translate.identity import Identity, Models
from langchain_costguard.translate.keys import RequestKeys, _parsed, _request
from langchain_costguard.translate.messages import rows_of, rows_of_json

_INSTRUCTIONS = ("system", "developer")
_AGENT_ROWS = ("tool", "function")


class ScopeKeys:
    """Splits requests into question and scope.

    ``space`` identifies the embedding model. ``history``: answer also inside conversations (then the history is part
    of the scope); without it they are left to the exact cache. ``longest`` is the words that a question may have: more
    is a document.
    """

    def __init__(self, policy: CachePolicy, *, space: str, history: bool = False, longest: int = LONGEST) -> None:
        self.policy, self._space, self._history, self._longest = policy, space, history, longest
        self._keys = RequestKeys(policy)
        self._models = Models()

    def chat(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
    ) -> Asked | Uncacheable:
        """From the request's objects."""
        try:
            identity, rows = self._models.identity(model), rows_of(messages)
            return self._asked(identity, rows, stop, kwargs, attribution, describe=self._keys._describe)
        except NotCanonical as error:
            return Uncacheable(str(error))

    def raw(
        self,
        prompt: str,
        llm_string: str,
        attribution: Attribution,
        *,
        model: BaseLanguageModel[Any] | None = None,
        stop: Sequence[str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> Asked | Uncacheable:
        """From the strings that LangChain hands to a cache; where the ``model`` is known it is believed."""
        try:
            identity, given = (self._models.identity(model), kwargs or {}) if model else _parsed(llm_string)
            rows = rows_of_json(prompt)
            return self._asked(identity, [["text", prompt]] if rows is None else rows, stop, given, attribution)
        except NotCanonical as error:
            return Uncacheable(str(error))

    def _asked(
        self,
        identity: Identity,
        rows: Sequence[list[Any]],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
        **describe: Any,
    ) -> Asked | Uncacheable:
        reason = self._declines(rows)
        parts = None if reason else _parted(rows[-1])
        if parts is None:
            return Uncacheable(reason or "the last message is not only text")
        question, rest = parts
        if is_more_than_a_question(question, longest=self._longest):
            return Uncacheable("the prompt is more than a question")
        whole = self._keys._made(_request(identity, rows, stop, kwargs, **describe), attribution)
        if isinstance(whole, Uncacheable):
            return whole
        around = _request(identity, [*rows[:-1], rest], stop, kwargs, **describe)
        return Asked(question, self._scope(around, attribution), self._own(whole), _fills_in(kwargs))

    def _declines(self, rows: Sequence[list[Any]]) -> str | None:
        if not rows or rows[-1][0] not in ("human", "text"):
            return "the last message is not a person's"
        before = [row for row in rows[:-1] if row[0] not in _INSTRUCTIONS]
        if any(row[0] in _AGENT_ROWS or (len(row) > 2 and "calls" in row[2]) for row in before):
            return "an agent's turn"
        if before and not self._history:
            return "a conversation (history=True to allow)"
        return None

    def _scope(self, around: Request, attribution: Attribution) -> str:
        who = canonical(scope_of(attribution, self.policy.scope))
        return digest(SCOPE_VERSION, self._space, around.digest, who)

    def _own(self, key: CacheKey) -> CacheKey:
        return key._replace(digest=digest("entry", self._space, key.digest))


def _parted(row: list[Any]) -> tuple[str, list[Any]] | None:
    """The question in the last message, and the message with a hole in its place; ``None`` if it holds more than
    text."""
    kind, content, more = row[0], row[1], row[2:]
    if not isinstance(content, str):
        texts = [block if isinstance(block, str) else block.get("text") for block in content]
        plain = len(texts) == 1 and isinstance(texts[0], str) and set(_block_parts(content[0])) <= {"type", "text"}
        if not plain:
            return None
        content = texts[0]
    parts = split(content)  # of a prompt template's text: what it retrieved is not the question, and must match exactly
    return None if parts is None else (parts.question, [kind, parts.rest, *more])


def _block_parts(block: Any) -> Sequence[str]:
    return list(block) if isinstance(block, dict) else []


def _fills_in(kwargs: Mapping[str, Any]) -> bool:
    """Whether one tool is forced, as structured output does; else a tool call is a deed of an agent's."""
    choice, tools = kwargs.get("tool_choice"), kwargs.get("tools") or ()
    kind = choice.get("type") if isinstance(choice, Mapping) else choice
    if not kind or kind in ("auto", "none"):
        return False
    return len(tools) == 1 or kind not in ("any", "required", True)
