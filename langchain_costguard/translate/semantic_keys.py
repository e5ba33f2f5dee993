"""A LangChain request as the semantic cache splits it, from the same canonical rows as the exact key."""

from __future__ import annotations

from costguard_core.cache import CacheKey, CachePolicy, Uncacheable
from costguard_core.cache.keys import canonical
from costguard_core.cache.request import Row, RowRequest
from costguard_core.cache.semantic.query import Message, Role, fills_one_schema, is_from_agent, only_text

_ROLES: dict[str, Role] = {"system": "instructions", "developer": "instructions", "human": "user", "text": "user"}
_AGENT_ROWS = ("tool", "function")


class SemanticChatRequest:
    """A chat request, or the text prompt of a completion model, as canonical rows."""

    known_question = None  # LangChain does not tell what a template was filled with
    objection = None

    def __init__(self, policy: CachePolicy, read: RowRequest) -> None:
        self._policy, self._read = policy, read

    @property
    def messages(self) -> list[Message]:
        return [_message(row) for row in self._read.rows]

    @property
    def fills_schema(self) -> bool:
        return fills_one_schema(self._read.call)

    def key(self) -> CacheKey | Uncacheable:
        return self._policy.key(self._read.request())

    def scope_parts(self, last_text: str) -> tuple[str, str]:
        kind, _, *more = self._read.rows[-1]
        around = self._read.request([*self._read.rows[:-1], [kind, last_text, *more]])
        # Who may read it is decided by the question, which is not in `around` any more.
        return around.digest, canonical(self._policy.readers(self._read.request()))


def _message(row: Row) -> Message:
    kind, content = row[0], row[1]
    calls = len(row) > 2 and "calls" in row[2]
    text = only_text(content)
    from_agent = kind in _AGENT_ROWS or calls or (text is not None and is_from_agent(text))
    return Message(_ROLES.get(kind, "other"), text, from_agent)
