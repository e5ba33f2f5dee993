"""A prompt in a wire format as the guard counts it."""

from __future__ import annotations

from costguard_core.usage.media import Media
from costguard_core.usage.overhead import sealed_letters
from costguard_core.usage.parameters import marks_cache
from costguard_core.usage.prompt_content import has_calls, listed_calls, read_content
from costguard_core.usage.token_counter import ReadPrompt
from costguard_core.wire.base import Prompt, Said, mappings

_TOOL_ROLES = ("tool", "function")
_TOOL_RESULTS = ("tool_result", "function_call_output")


def read_prompt(prompt: Prompt) -> ReadPrompt:
    """The messages as text, what else is in them, and what the vendor adds for it."""
    read: list[tuple[str, str, str | None]] = []
    texts: list[str] = []
    media: list[Media] = []
    caches, rewritten = False, False
    sealed: list[tuple[int, int]] = []
    for said in prompt.messages:
        content = said.content if isinstance(said.content, (str, list)) else str(said.content or "")
        text, found = read_content(content)
        media += found
        if not isinstance(content, str):
            caches = caches or marks_cache(content)
            sealed.append((len(read), sealed_letters(content)))
        if said.beside:
            beside = {name: part for name, part in said.beside.items() if name != "content"}
            sealed.append((len(read), sealed_letters(beside)))
            caches = caches or "cache_control" in said.beside
            if not has_calls(content):
                text += listed_calls(said.beside)
        rewritten = rewritten or is_of_tools(said)
        read.append((said.role, text, said.name))
        texts += (said.role, text)
    return ReadPrompt(read, texts, media, caches, sealed, rewritten, prompt.tokens)


def is_of_tools(said: Said) -> bool:
    """Whether a message calls tools, or has what they returned."""
    beside = said.beside
    if said.role in _TOOL_ROLES or beside.get("tool_calls") or beside.get("function_call"):
        return True
    content = said.content if isinstance(said.content, list) else None
    return has_calls(content) or any(block.get("type") in _TOOL_RESULTS for block in mappings(content))
