"""A request as the semantic cache looks it up: the question in it, and a digest of everything else.

The question may be worded otherwise; whatever else is in the request must be equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Protocol

from costguard_core.cache.keys import CacheKey, Uncacheable, digest

# Part of every scope: raise it when entries of an older release must not be found.
SCOPE_VERSION = "costguard.semantic.1"
MAX_QUESTION_WORDS = 64  # a choice: a longer text is a document to work on, not a question

Role = Literal["instructions", "user", "other"]

_PLACEHOLDER = "\N{OBJECT REPLACEMENT CHARACTER}"
_LABELLED = re.compile(r"^\s*(?:user\s+|final\s+)?(?:question|query)\s*:\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_DIALOGUE = re.compile(r"^\s*(?:human|user|ai|assistant|system)\s*:", re.IGNORECASE | re.MULTILINE)
# "Context: …", "A: …", wherever it stands; and a task with its text: "Translate to French: I am coming".
_PART = re.compile(
    r"(?:^|[\s.!?])(?:context|documents?|passage|instructions?|examples?|input|text"
    r"|(?<!quick )(?<!short )(?<!simple )question|query|answer|q|a)\s*:\s",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"^\W*(?:(?:please|can you|could you)\s+)?(?:translate|summari[sz]e|paraphrase|rephrase|rewrite|classify|correct"
    r"|proofread|extract|transcribe|label|shorten)\b[^:\n]*:\s*\S",
    re.IGNORECASE,
)
# The prompt formats of LangChain's and LlamaIndex's ReAct and CodeAct agents.
_AGENT = re.compile(r"^\s*(?:Thought|Action|Observation)\s*:|<execute>", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SemanticQuery:
    """What a semantic cache is asked.

    Attributes:
        question: the text that is embedded and compared.
        scope: hexadecimal digest of everything else that can change the answer. Entries are found in one scope only.
        key: the key of the whole request; its digest names the entry that an answer is stored as.
        fills_schema: the model has to fill in one schema (structured output), so a tool call in the answer is the
            answer itself and no action.
    """

    question: str
    scope: str
    key: CacheKey
    fills_schema: bool = False


class Message(NamedTuple):
    """What splitting a request needs to know of one message.

    Attributes:
        role: ``"instructions"`` is a system or developer message.
        text: the text of a message that holds nothing but text, else ``None``.
        from_agent: it calls a tool, holds a tool's result, or is an agent's reasoning.
    """

    role: Role
    text: str | None
    from_agent: bool = False


class SemanticRequest(Protocol):
    """A request as its adapter has read it.

    Attributes:
        messages: all messages, in order.
        known_question: the part of the last message that its template was filled with, where the framework tells.
        fills_schema: see :class:`SemanticQuery`.
        objection: why this kind of request is never answered semantically; ``None`` if it may be.
    """

    @property
    def messages(self) -> Sequence[Message]: ...
    @property
    def known_question(self) -> str | None: ...
    @property
    def fills_schema(self) -> bool: ...
    @property
    def objection(self) -> str | None: ...

    def key(self) -> CacheKey | Uncacheable:
        """The exact key of the request under the cache's policy."""

    def scope_parts(self, last_text: str) -> Sequence[str]:
        """Texts that identify the request with ``last_text`` as its last message, and who may read the answer."""


def semantic_query(
    request: SemanticRequest, *, space: str, history: bool = False, max_words: int = MAX_QUESTION_WORDS
) -> SemanticQuery | Uncacheable:
    """The question and scope of a request, or why it is not answered semantically.

    Args:
        space: identifies the embedding model.
        history: also answer inside conversations; the earlier messages are then part of the scope.
        max_words: a text with more words is no question.

    Raises:
        NotCanonical: a part of the request has no exact written form.
    """
    reason = request.objection or _objection(request.messages, history=history)
    if reason is not None:
        return Uncacheable(reason)
    parts = split(request.messages[-1].text or "", request.known_question)
    if parts is None:
        return Uncacheable("no question in the last message")
    if is_more_than_a_question(parts.question, max_words=max_words):
        return Uncacheable("the prompt is more than a question")
    key = request.key()
    if isinstance(key, Uncacheable):
        return key
    return SemanticQuery(
        parts.question,
        digest(SCOPE_VERSION, space, *request.scope_parts(parts.rest)),
        key._replace(digest=digest("entry", space, key.digest)),
        request.fills_schema,
    )


def _objection(messages: Sequence[Message], *, history: bool) -> str | None:
    if not messages or messages[-1].role != "user":
        return "the last message is not a person's"
    if messages[-1].text is None:
        return "the last message is not only text"
    if any(message.from_agent for message in messages):
        return "an agent's turn"
    if not history and any(message.role != "instructions" for message in messages[:-1]):
        return "a conversation (history=True to allow)"
    return None


class SplitText(NamedTuple):
    """A prompt's question, and its text with a placeholder where the question was."""

    question: str
    rest: str


def split(text: str, question: str | None = None) -> SplitText | None:
    """The question in a prompt: the given one, else the one line that is labelled as such, else the whole text.

    Returns ``None`` if there is none, or if the text does not contain the given question, whatever the blanks between
    its words: they may have been cleaned away since the template was filled with it.
    """
    if question is not None:
        question = question.strip()
        if question and question not in text:
            spaced = re.findall(r"\s+".join(map(re.escape, question.split())), text)
            question = spaced[-1] if spaced else ""
        before, found, after = text.rpartition(question) if question else ("", "", "")
        return SplitText(question, f"{before}{_PLACEHOLDER}{after}") if found else None
    labelled = _LABELLED.findall(text)
    if len(labelled) == 1:
        return SplitText(labelled[0], text.replace(labelled[0], _PLACEHOLDER, 1))
    whole = text.strip()
    return SplitText(whole, _PLACEHOLDER) if whole else None


def is_more_than_a_question(text: str, *, max_words: int = MAX_QUESTION_WORDS) -> bool:
    """Whether it is long, a dialogue, several lines, or a text to work on: what must not differ could be anywhere."""
    if len(text.split()) > max_words or "\n" in text.strip():
        return True
    return any(pattern.search(text) is not None for pattern in (_DIALOGUE, _PART, _TASK))


def is_from_agent(text: str) -> bool:
    """Whether it is the prompt or a turn of an agent that writes down its reasoning or runs code."""
    return _AGENT.search(text) is not None


def question_digest(query: SemanticQuery) -> str:
    """Names a question in its scope, whatever its case, spacing and closing marks. Hexadecimal; used in refutations,
    which must not hold the text."""
    wording = " ".join(query.question.split()).rstrip(" .?!").casefold()
    return blake2b(f"{query.scope}\n{wording}".encode(), digest_size=16).hexdigest()


def fills_one_schema(options: Mapping[str, Any]) -> bool:
    """Whether one tool is forced, as structured output does; else a tool call is an agent's action."""
    choice, tools = options.get("tool_choice"), options.get("tools") or ()
    kind = choice.get("type") if isinstance(choice, Mapping) else choice
    if not kind or kind in ("auto", "none"):
        return False
    return len(tools) == 1 or kind not in ("any", "required", True)


def only_text(content: Any) -> str | None:
    """The text of a message whose content is a text or one block of text."""
    if isinstance(content, str):
        return content
    block = content[0] if len(content) == 1 else None
    if isinstance(block, str):
        return block
    text = block.get("text") if isinstance(block, dict) and block.keys() <= {"type", "text"} else None
    return text if isinstance(text, str) else None
