"""What an answer itself shows of fees that its usage does not count: searches, files searched, code run, pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from costguard_core.types import Usage
from costguard_core.usage import anthropic, google, groq, openai
from costguard_core.usage.fields import count, get, items, units
from costguard_core.usage.totals import with_fees


def add_answer_fees(usage: Usage, content: Sequence[object], metadata: Mapping[str, object], model: str) -> Usage:
    """``usage`` with the billed units in an answer.

    ``content`` are the blocks of the answer or the items of a response's output, in the provider's or in LangChain's
    form; ``metadata`` is where grounding metadata and executed tools are found (:func:`shown_beside`); ``model`` is the
    one that answered. Where usage and answer both name a number, the larger one is taken.
    """
    if content:
        for searches, found in (anthropic.tool_fees(content), openai.tool_fees(content), _standard_blocks(content)):
            counted = ("generated_image",) if usage.others else ()  # by the tokens of the model that made them
            usage = with_fees(usage, searches, tuple(unit for unit in found if unit[0] not in counted))
    if executed := get(metadata, "executed_tools"):
        usage = with_fees(usage, *groq.tool_fees(executed))
    ground = google.Grounding()
    if grounding := get(metadata, "grounding_metadata"):
        read_urls = get(metadata, "url_context_metadata") is not None
        ground = google.grounding_of(grounding, model, read_urls=read_urls)
        usage = replace(usage, estimated=True) if ground.unsure and not usage.web_searches else usage
    searches = max(
        ground.searches,
        count(metadata, "num_search_queries"),  # Perplexity
        int(openai.searches_always(model)),
    )
    return with_fees(usage, searches, units(place_search=ground.places)) if searches or ground.places else usage


def shown_beside(answer: object) -> dict[str, Any]:
    """What the first alternative of an answer, or of a chunk of one, shows beside its text of what was done for it."""
    if candidates := items(answer, "candidates"):
        return _found(candidates[0], ("grounding_metadata", "url_context_metadata"))
    if choices := items(answer, "choices"):
        return _found(get(choices[0], "message") or get(choices[0], "delta"), ("executed_tools",))
    return {}


def _found(part: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: found for name in names if (found := get(part, name)) is not None}


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
