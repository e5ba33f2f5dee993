"""What an answer itself shows of fees that its usage does not count: searches, files searched, code run, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costguard_core.types import Usage
from costguard_core.usage import anthropic, google, openai
from costguard_core.usage.fields import count, get, units
from costguard_core.usage.totals import with_fees


def add_answer_fees(usage: Usage, content: Sequence[object], metadata: Mapping[str, object], model: str) -> Usage:
    """``usage`` with the billed units in an answer.

    ``content`` are the blocks of the answer or the items of a response's output, in the provider's or in LangChain's
    form; ``metadata`` is where grounding metadata is found; ``model`` is the one that answered. Where usage and answer
    both name a number, the larger one is taken.
    """
    if content:
        for searches, found in (anthropic.tool_fees(content), openai.tool_fees(content), _standard_blocks(content)):
            counted = ("generated_image",) if usage.others else ()  # by the tokens of the model that made them
            usage = with_fees(usage, searches, tuple(unit for unit in found if unit[0] not in counted))
    grounding = get(metadata, "grounding_metadata")
    searches = max(
        google.grounding_searches(grounding, model) if grounding else 0,
        count(metadata, "num_search_queries"),  # Perplexity
        int(openai.searches_always(model)),
    )
    return with_fees(usage, searches, ()) if searches else usage


def _standard_blocks(content: Sequence[object]) -> tuple[int, tuple[tuple[str, int], ...]]:
    """LangChain's blocks of server-side tools, the same for every provider ("v1" of its output).

    https://docs.langchain.com/oss/python/langchain/messages#server-side-tool-execution
    """
    calls: dict[Any, str] = {}
    failed = set()
    for number, block in enumerate(content):
        kind = get(block, "type")
        if kind == "server_tool_call" and (get(get(block, "args"), "type") or "search") == "search":
            calls[get(block, "id") or number] = str(get(block, "name"))
        elif kind == "server_tool_result" and get(block, "status") == "error":
            failed.add(get(block, "tool_call_id"))
    names = [name for key, name in calls.items() if key not in failed]
    code = any("code" in name for name in names)
    return names.count("web_search"), units(file_search=names.count("file_search"), code_session=int(code))
