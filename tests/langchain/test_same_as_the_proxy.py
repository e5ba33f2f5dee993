"""A call costs the same room in a budget, whether LangChain's model is guarded or speaks to the proxy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI

from costguard_core.guard import CostGuard
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.content import WireContent
from costguard_core.proxy.request import WireRequest
from costguard_core.proxy.settings import Upstream
from costguard_core.types import Attribution
from costguard_core.wire import FORMATS
from langchain_costguard import GuardedChatModel
from langchain_costguard.chat_model.request import ChatRequest

ANY: Any = None
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Er"
    "kJggg=="
)
PROMPTS: dict[str, list[Any]] = {
    "text": [HumanMessage("What is a cost guard?")],
    "system": [SystemMessage("Be brief."), HumanMessage("Why?")],
    "picture": [
        HumanMessage([{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PICTURE}}])
    ],
    "tools": [
        HumanMessage("Weather in Rome?"),
        AIMessage("", tool_calls=[{"name": "weather", "args": {"city": "Rome"}, "id": "c1", "type": "tool_call"}]),
        ToolMessage("sunny", tool_call_id="c1"),
    ],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "limits": {"max_tokens": 50, "n": 2, "service_tier": "flex"},
    "tools": {"tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-5-mini"])
def test_the_hold_is_the_same(name: str, prompt: str, options: str) -> None:
    guard = CostGuard(["$100/day"])
    messages, kwargs = PROMPTS[prompt], OPTIONS[options]
    model = ChatOpenAI(model=name, api_key="sk-none", use_responses_api=False)
    adapter = ChatRequest(GuardedChatModel(model, guard), {}, None).asking(messages, None, kwargs).call()
    body = model._get_request_payload(messages, **kwargs)
    upstream = Upstream("openai", "https://api.openai.com", "openai")
    content = WireContent(FORMATS["/v1/chat/completions"], body, upstream, Caller(Attribution()))
    proxy = WireRequest(guard, ANY, content, size=1).call()
    same = {
        "id": "",
        "started": 0.0,
        "host": None,
        "fingerprint": None,  # roles are called otherwise
        "reasoning": False,  # LangChain's profile of a model against its name
        "output_ceiling": None,
        "attempts": 1,
        "input_tokens": None,
    }
    assert replace(adapter, **same) == replace(proxy, **same)
    assert adapter.input_tokens is not None and proxy.input_tokens is not None
    # Calls of tools are written down by LangChain as it keeps them, and by the proxy as they are sent.
    assert abs(adapter.input_tokens - proxy.input_tokens) <= (12 if prompt == "tools" else 0)
