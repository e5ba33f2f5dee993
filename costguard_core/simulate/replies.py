"""What the simulated model answers: a pure function of the request, unless the test scripts it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypedDict

from costguard_core.simulate.counting import Count, cut_to
from costguard_core.simulate.request import GenerationRequest, Message, Tool
from costguard_core.simulate.schemas import example


class ScriptedReply(TypedDict, total=False):
    """What ``server.reply`` may return instead of plain text. ``tool_calls`` are ``{"name": …, "arguments": {…}}``."""

    content: str
    tool_calls: list[dict[str, object]]
    refusal: str
    finish_reason: str
    reasoning_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice. ``tokens`` is what it costs on the output side, ``reasoning`` included."""

    text: str
    tokens: int
    finish: str = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: int = 0
    refusal: str | None = None


def compose(request: GenerationRequest, count: Count, script: str | ScriptedReply | None = None) -> list[Reply]:
    """As many replies as the request wants choices, each within its token limit."""
    return [_compose_one(request, count, script, request.random(f"choice {index}")) for index in range(request.choices)]


def _compose_one(request: GenerationRequest, count: Count, script: str | ScriptedReply | None, random: Random) -> Reply:
    if script is None:
        calls = _choose_tools(request, random)
        draft = Reply(
            "" if calls else _text(request, random), 0, tool_calls=calls, reasoning=_reasoning(request, random)
        )
        return _limited(request, count, draft)
    given: ScriptedReply = {"content": script} if isinstance(script, str) else script
    calls = _scripted_calls(given.get("tool_calls", ()), random)
    reasoning, refusal = given.get("reasoning_tokens", 0), given.get("refusal")
    draft = Reply(given.get("content", ""), 0, tool_calls=calls, reasoning=reasoning, refusal=refusal)
    made = _limited(request, count, draft)
    tokens, finish = given.get("output_tokens", made.tokens), given.get("finish_reason", made.finish)
    return replace(made, tokens=tokens, finish=finish)


def _limited(request: GenerationRequest, count: Count, draft: Reply) -> Reply:
    """Cut at a stop sequence and at the token limit; reasoning uses the limit up first, as it does at OpenAI."""
    ends = [at for stop in request.stop if (at := draft.text.find(stop)) >= 0]
    text = draft.text[: min(ends)] if ends else draft.text
    tokens = count(request.model, text) + draft.reasoning + _tokens_beside_text(request.model, draft, count)
    if request.max_tokens is None or tokens <= request.max_tokens:
        return replace(draft, text=text, tokens=tokens, finish="tool_calls" if draft.tool_calls else "stop")
    reasoning = min(draft.reasoning, request.max_tokens)
    text = cut_to(request.model, text, request.max_tokens - reasoning, count)
    used = request.max_tokens if draft.tool_calls else reasoning + count(request.model, text)
    return Reply(text, used, "length", reasoning=reasoning)


def _tokens_beside_text(model: str, draft: Reply, count: Count) -> int:
    calls = sum(count(model, call.name) + count(model, call.arguments) + 6 for call in draft.tool_calls)
    return calls + (count(model, draft.refusal) if draft.refusal else 0)


def _reasoning(request: GenerationRequest, random: Random) -> int:
    """Hidden tokens of models that think first, in the blocks of 64 in which OpenAI reports them."""
    if not re.match(r"(o\d|gpt-5(?!-chat))", request.model.rpartition("/")[2]):
        return 0
    usual = {"none": 0, "minimal": 0, "low": 2, "medium": 4, "high": 12}.get(request.effort or "medium", 4)
    return 64 * round(usual * (0.5 + random.random()))


_OPENERS = (
    "Happy to help with that.",
    "Thanks for getting in touch.",
    "Good question.",
    "Here is how that works.",
    "Let me walk you through it.",
)
_SENTENCES = (
    "You can do this yourself under Settings, then Account, and the change is live at once.",
    "Most customers see the result within two working days.",
    "If the button is greyed out, sign out, sign in again and give the page a moment to load.",
    "We will send a confirmation by email as soon as the step is complete.",
    "There is no charge for this on any of our plans.",
    "Please keep the reference number, since our team will ask for it if you write again.",
    "The same steps work in the mobile app; look for the three dots in the top right corner.",
    "Nothing else on your account changes.",
    "If you ordered as a guest, use the link in your confirmation email instead.",
    "Bank transfers can take up to five working days to appear on a statement.",
    "For items that arrived damaged, a photo of the packaging speeds things up considerably.",
    "You can undo this at any time during the following thirty days.",
    "Orders that have already left the warehouse cannot be changed, but they can be returned free of charge.",
    "Our policy is the same for sale items, except for personalised products.",
    "If that does not solve it, reply here and a colleague will look at it today.",
    "An administrator of your workspace may have to approve the request first.",
)


def _text(request: GenerationRequest, random: Random) -> str:
    if request.schema is not None:
        return json.dumps(example(request.schema, random))
    topic = " ".join(request.question.split()[:12]).rstrip("?.!,")
    if request.json_object:
        return json.dumps({"answer": random.choice(_SENTENCES), "topic": topic})
    length = min(len(_SENTENCES), max(2, round(random.lognormvariate(1.4, 0.4))))
    return " ".join([random.choice(_OPENERS), f'On "{topic}":', *random.sample(_SENTENCES, length)])


def _choose_tools(request: GenerationRequest, random: Random) -> tuple[ToolCall, ...]:
    """A tool result is answered in words; otherwise the tools that the question names (or the nearest) are called."""
    if not request.tools or request.tool_choice == "none":
        return ()
    if request.tool_choice not in ("auto", "required"):
        chosen = [tool for tool in request.tools if tool.name == request.tool_choice]
    elif request.messages[-1].role == "tool" and request.tool_choice == "auto":
        chosen = []
    else:
        chosen = _named(request) or [max(request.tools, key=lambda tool: _overlap(tool, request.messages))]
    if not request.parallel:
        chosen = chosen[:1]
    return tuple(ToolCall(_call_id(random), t.name, json.dumps(example(t.parameters, random))) for t in chosen)


def _named(request: GenerationRequest) -> list[Tool]:
    question = request.question.lower()
    return [t for t in request.tools if t.name.lower() in question or t.name.lower().replace("_", " ") in question]


def _overlap(tool: Tool, messages: Sequence[Message]) -> int:
    words = set(re.findall(r"[a-z]{3,}", messages[-1].text.lower()))
    return len(words & set(re.findall(r"[a-z]{3,}", f"{tool.name} {tool.description}".lower().replace("_", " "))))


def _scripted_calls(calls: Sequence[Mapping[str, Any]], random: Random) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(str(call.get("id") or _call_id(random)), call["name"], json.dumps(call.get("arguments", {})))
        for call in calls
    )


def _call_id(random: Random) -> str:
    return f"call_{random.getrandbits(96):024x}"
