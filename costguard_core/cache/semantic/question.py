"""What of a prompt is the question, which may be said in other words, and what is everything else, which may not."""

from __future__ import annotations

import re
from typing import NamedTuple

# Part of every scope: raise it when entries of an older release must not be found.
SCOPE_VERSION = "costguard.semantic.1"
LONGEST = 64  # words; more is a document

_HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"
_LABELLED = re.compile(r"^\s*(?:user\s+|final\s+)?(?:question|query)\s*:\s*(\S.*?)\s*$", re.IGNORECASE | re.MULTILINE)
_DIALOGUE = re.compile(r"^\s*(?:human|user|ai|assistant|system)\s*:", re.IGNORECASE | re.MULTILINE)
# "Context: …", "A: …", wherever it stands; and a task with its text: "Translate to French: I am coming".
_PART = re.compile(
    r"(?:^|[\s.!?])(?:context|documents?|passage|instructions?|examples?|input|text|question|query|answer|q|a)\s*:\s",
    re.IGNORECASE,
)
_TASK = re.compile(
    r"^\W*(?:(?:please|can you|could you)\s+)?(?:translate|summari[sz]e|paraphrase|rephrase|rewrite|classify|correct"
    r"|proofread|extract|transcribe|label|shorten)\b[^:\n]*:\s*\S",
    re.IGNORECASE,
)
_AGENT = re.compile(r"^\s*(?:Thought|Action|Observation)\s*:|<execute>", re.MULTILINE)


class Split(NamedTuple):
    """A prompt's question, and its text with a hole in the place of the question."""

    question: str
    rest: str


def split(text: str, question: str | None = None) -> Split | None:
    """The question in a prompt: the one that it was made of, else the one line that is labelled as such, else all.

    ``None``: there is none, or the prompt does not hold it as it is.
    """
    if question is not None:
        question = question.strip()
        before, found, after = text.rpartition(question) if question else ("", "", "")
        return Split(question, f"{before}{_HOLE}{after}") if found else None
    labelled = _LABELLED.findall(text)
    if len(labelled) == 1:
        return Split(labelled[0], text.replace(labelled[0], _HOLE, 1))
    whole = text.strip()
    return Split(whole, _HOLE) if whole else None


def is_more_than_a_question(text: str, *, longest: int = LONGEST) -> bool:
    """Whether it is long, a dialogue, several lines, or a text to work on: what must not differ could be anywhere."""
    if len(text.split()) > longest or "\n" in text.strip():
        return True
    return any(pattern.search(text) is not None for pattern in (_DIALOGUE, _PART, _TASK))


def is_agents(text: str) -> bool:
    """Whether it is the prompt or a turn of an agent that thinks aloud or writes code."""
    return _AGENT.search(text) is not None
