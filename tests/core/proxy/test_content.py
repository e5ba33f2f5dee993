"""What a request to the proxy asks: its key splits what may differ and nothing else, whatever JSON it is made of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.cache.keys import Uncacheable
from costguard_core.cache.policy import CachePolicy
from costguard_core.guard import CostGuard
from costguard_core.lifecycle.calls import prompt_tokens
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.content import WireContent
from costguard_core.proxy.request import WireRequest
from costguard_core.proxy.settings import Upstream
from costguard_core.types import Attribution
from costguard_core.wire import FORMATS

ANY: Any = None
UPSTREAM = Upstream("up", "https://api.openai.com", "openai")
CHAT_PATH, MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Is PayPal accepted?"}]}


def content(body: dict[str, Any], path: str = CHAT_PATH, **more: Any) -> WireContent:
    return WireContent(FORMATS[path], body, UPSTREAM, more.pop("caller", Caller(Attribution())), **more)


def key(body: dict[str, Any], path: str = CHAT_PATH, **more: Any) -> Any:
    found = content(body, path, **more).key(CachePolicy())
    return found.reason if isinstance(found, Uncacheable) else found.digest


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "a", "parameters": {}}}
OTHER_TOOL: dict[str, Any] = {"type": "function", "function": {"name": "b", "parameters": {}}}


@pytest.mark.parametrize(
    "more",
    [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "u1", "metadata": {"a": "b"}, "safety_identifier": "x"},
        {"service_tier": "flex", "prompt_cache_key": "k"},
    ],
)
def test_who_asks_and_how_it_is_sent_split_no_cache(more: dict[str, Any]) -> None:
    assert key({**BODY, **more}) == key(BODY)


def test_the_order_of_tools_splits_no_cache() -> None:
    assert key({**BODY, "tools": [TOOL, OTHER_TOOL]}) == key({**BODY, "tools": [OTHER_TOOL, TOOL]}) != key(BODY)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.5},
        {"unknown": 1},
        {"messages": [{"role": "user", "content": "Is PayPal accepted ?"}]},
        {"messages": [{"role": "system", "content": "Is PayPal accepted?"}]},
        {"response_format": {"type": "json_object"}},
        {"seed": 7},
    ],
)
def test_whatever_else_differs_is_another_key(more: dict[str, Any]) -> None:
    assert key({**BODY, **more}) != key(BODY)


def test_headers_that_reach_the_provider_and_its_query_are_in_the_key() -> None:
    assert key(BODY, headers=[("x-gateway-tenant", "a")]) != key(BODY, headers=[("x-gateway-tenant", "b")])
    assert key(BODY, headers=[("anthropic-beta", "x")]) != key(BODY)
    assert key(BODY, query="api-version=1") != key(BODY, query="api-version=2")
    plain = [("accept", "*/*"), ("user-agent", "curl"), ("x-stainless-lang", "js"), ("authorization", "Bearer x")]
    assert key(BODY, headers=plain) == key(BODY)
    named = frozenset(("x-user",))
    assert key(BODY, headers=[("x-user", "a")], attributing=named) == key(BODY)


def test_no_secret_in_a_header_is_readable_in_a_key() -> None:
    request = content(BODY, headers=[("x-gateway-key", "hush")])
    assert "hush" not in str(request._answering_headers())
    assert key(BODY, headers=[("x-gateway-key", "hush")]) != key(BODY, headers=[("x-gateway-key", "other")])


def test_callers_and_tenants_share_nothing() -> None:
    def by(**who: str) -> Any:
        reader = who.pop("reader", "")
        return key(BODY, caller=Caller(Attribution(**who), reader=reader))

    assert len({by(), by(reader="a"), by(reader="b"), by(tenant="t"), by(tenant="t2")}) == 5
    assert by(user="a") == by(user="b")


@pytest.mark.parametrize(
    "more",
    [
        {"previous_response_id": "r"},
        {"conversation": "c"},
        {"container": "c"},
        {"background": True},
        {"context_management": {"edits": []}},
        {"prompt": {"id": "p", "version": "1"}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://x.example", "headers": {"Authorization": "Bearer s"}}]},
        {"tools": "text"},
        {"temperature": 1.5},
        {"web_search_options": {}},
        {"mcp_servers": [{"url": "https://x.example", "authorization_token": "s"}]},
    ],
)
@pytest.mark.parametrize("policy", [CachePolicy(), CachePolicy(cache_dynamic=True)])
def test_what_is_in_no_key_is_not_cached(more: dict[str, Any], policy: CachePolicy) -> None:
    found = content({**BODY, **more}).key(policy)
    reads_the_world = any(name in more for name in ("web_search_options", "mcp_servers")) or "web_" in str(more)
    assert isinstance(found, Uncacheable) or (policy.cache_dynamic and reads_the_world)


FIELDS = (
    "messages input prompt suffix instructions system tools functions tool_choice response_format text output_config n "
    "best_of max_tokens max_completion_tokens max_output_tokens thinking reasoning modalities service_tier speed stop "
    "stream stream_options temperature metadata user options extra_body plugins mcp_servers web_search_options "
    "context_management"
).split()
WORDS = st.sampled_from(
    "user assistant tool text type content function name arguments image_url input_text tool_result tool_use id auto "
    "budget_tokens enabled format json_schema include_usage url source data cache_control".split()
)
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


@given(st.sampled_from(list(FORMATS)), st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=5))
def test_no_json_breaks_the_reading_of_a_request(path: str, fields: dict[str, Any]) -> None:
    body = {"model": "gpt-4o-mini", **fields}
    guard = CostGuard(["$1/day"])
    made = content(body, path)
    request = WireRequest(guard, ANY, made, size=1)
    made.key(CachePolicy())
    assert (request.call().input_tokens or 0) >= 0
    assert isinstance(made.wants_form, bool)
    assert prompt_tokens(guard, made.read, made.known, made.parameters) >= 0


@pytest.mark.parametrize(
    ("path", "more", "wanted"),
    [
        (CHAT_PATH, {}, False),
        (CHAT_PATH, {"response_format": {"type": "text"}}, False),
        (CHAT_PATH, {"response_format": {"type": "json_object"}}, True),
        (CHAT_PATH, {"tool_choice": "auto"}, False),
        (CHAT_PATH, {"tool_choice": "required"}, True),
        ("/v1/responses", {"text": {"verbosity": "low"}}, False),
        ("/v1/responses", {"text": {"format": {"type": "text"}}}, False),
        ("/v1/responses", {"text": {"format": {"type": "json_schema"}}}, True),
        (MESSAGES_PATH, {"output_config": {"effort": "low"}}, False),
        (MESSAGES_PATH, {"output_config": {"format": {"type": "json_schema"}}}, True),
        (MESSAGES_PATH, {"output_format": {"type": "json_schema"}}, True),
        (MESSAGES_PATH, {"tool_choice": {"type": "tool", "name": "a"}}, True),
        ("/v1/embeddings", {"input": "a"}, True),
    ],
)
def test_where_a_text_is_no_answer_is_read(path: str, more: dict[str, Any], wanted: bool) -> None:
    assert content({"model": "m", **more}, path).wants_form is wanted


def test_what_a_vendor_adds_for_tools_and_thoughts_is_counted() -> None:
    guard = CostGuard(["$1/day"])
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    loop = [*BODY["messages"], {"role": "assistant", "content": None, "tool_calls": [call]}]
    loop.append({"role": "tool", "tool_call_id": "c", "content": "sunny"})
    plain, looped = (
        WireRequest(guard, ANY, content({**BODY, "messages": m}), size=1) for m in (BODY["messages"], loop)
    )
    assert not plain.call().input_estimated
    assert looped.call().input_estimated  # vendors write calls in a form of their own
    assert (looped.call().input_tokens or 0) > (plain.call().input_tokens or 0) + 6
    marked = {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
    assert WireRequest(guard, ANY, content({"model": "m", "messages": [marked]}), size=1).call().cache_writes
    sealed = [{"type": "reasoning", "summary": [], "encrypted_content": "x" * 1000}, {"role": "user", "content": "Hi"}]
    thoughts = WireRequest(guard, ANY, content({"model": "gpt-5", "input": sealed}, "/v1/responses"), size=1).call()
    assert (thoughts.input_tokens or 0) > 150


def test_completions_are_limited_by_the_default_of_the_api_and_counted_by_prompt() -> None:
    guard = CostGuard(["$1/day"])

    def call(**more: Any) -> Any:
        body = {"model": "gpt-3.5-turbo-instruct", **more}
        return WireRequest(guard, ANY, content(body, "/v1/completions"), size=1).call()

    assert (call(prompt="a").kind, call(prompt="a").max_output_tokens) == ("completion", 16)
    assert (call(prompt=["a", "b"], n=2).choices, call(prompt=[1, 2, 3], best_of=3).choices) == (4, 3)
    assert (call(prompt=[1] * 500).input_tokens or 0) >= 500
    embedded = content({"model": "text-embedding-3-small", "input": [[1] * 70, "a"]}, "/v1/embeddings")
    assert embedded.prompt.tokens == 70
    embedding = WireRequest(guard, ANY, content({"model": "m", "input": [[1] * 70]}, "/v1/embeddings"), size=1).call()
    assert (embedding.kind, embedding.input_tokens) == ("embedding", 70)
