"""The simulated provider, seen through the clients that people use: ChatOpenAI, OpenAIEmbeddings and plain HTTP."""

from __future__ import annotations

import asyncio
import json
from functools import reduce
from operator import add
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

from costguard_core.errors import ConfigurationError
from costguard_core.simulate import Fault, Latency, Simulator
from costguard_core.simulate.schemas import example
from costguard_core.usage.token_counter import TokenCounter


class Ticket(BaseModel):
    """What structured output is asked for here."""

    subject: str = Field(min_length=3, max_length=60)
    priority: int = Field(ge=1, le=5)
    tags: list[str] = Field(min_length=1, max_length=3)
    parent: Ticket | None = None


def get_weather(city: str, days: int) -> str:
    """Weather of a city."""
    return f"{city} {days}"


def get_time(zone: str) -> str:
    """Time in a zone."""
    return zone


def chat(server: Simulator, **options: Any) -> ChatOpenAI:
    options = {"model": "gpt-4o-mini", "max_retries": 0, "timeout": 60} | options
    return ChatOpenAI(base_url=server.base_url, api_key="sk-very-secret", **options)


def post(server: Simulator, path: str = "/chat/completions", **body: Any) -> httpx.Response:
    return httpx.post(f"{server.base_url}{path}", json=body, timeout=60)


def ask(server: Simulator, **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "How do I return a parcel?"}]
    answer: dict[str, Any] = post(server, **({"model": "gpt-4o-mini", "messages": messages} | options)).json()
    return answer


def test_same_request_same_answer_streamed_or_not(openai_server: Simulator) -> None:
    model = chat(openai_server)
    once, again = model.invoke("How do I return a parcel?"), model.invoke("How do I return a parcel?")
    streamed = reduce(add, model.stream("How do I return a parcel?", stream_usage=True))

    assert once.content == again.content == streamed.content
    assert once.usage_metadata == again.usage_metadata == streamed.usage_metadata
    assert model.invoke("How do I pay?").content != once.content
    assert openai_server.count == 4


def test_usage_is_what_costguard_counts(openai_server: Simulator) -> None:
    answer = chat(openai_server).invoke([("system", "Be brief."), ("human", "How do I return a parcel?")])
    counter = TokenCounter()
    messages = [("system", "Be brief."), ("user", "How do I return a parcel?")]

    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == counter.count_chat(messages, model="gpt-4o-mini").tokens
    assert answer.usage_metadata["output_tokens"] == counter.count(answer.text, model="gpt-4o-mini").tokens


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_answers_keep_to_their_limit(openai_server: Simulator, limit: str) -> None:
    answer = ask(openai_server, **{limit: 9})

    assert answer["choices"][0]["finish_reason"] == "length"
    assert 5 <= answer["usage"]["completion_tokens"] <= 9


def test_answers_end_before_a_stop_sequence(openai_server: Simulator) -> None:
    whole = ask(openai_server)["choices"][0]["message"]["content"]
    cut = ask(openai_server, stop=[whole[20:30]])["choices"][0]

    assert cut["message"]["content"] == whole[: whole.find(whole[20:30])]
    assert cut["finish_reason"] == "stop"


def test_several_choices_differ_and_are_all_billed(openai_server: Simulator) -> None:
    answer = ask(openai_server, n=3)
    texts = [choice["message"]["content"] for choice in answer["choices"]]

    assert len(set(texts)) == 3
    counter = TokenCounter()
    assert answer["usage"]["completion_tokens"] == sum(counter.count(t, model="gpt-4o-mini").tokens for t in texts)


@pytest.mark.parametrize("include", [True, False])
def test_streams_report_usage_only_if_asked(openai_server: Simulator, include: bool) -> None:
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": include}}
    messages = [{"role": "user", "content": "Hello"}]
    text = post(openai_server, model="gpt-4o", messages=messages, **options).text
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    chunks = [json.loads(line) for line in lines[:-1]]

    assert lines[-1] == "[DONE]"
    assert [chunk["usage"] is not None for chunk in chunks if "usage" in chunk].count(True) == (1 if include else 0)
    assert (chunks[-1]["choices"] == []) is include


def test_repeated_prefixes_are_reported_as_cached(openai_server: Simulator) -> None:
    document = "The courier left the parcel at the neighbour's door. " * 200
    model = chat(openai_server)
    cached = []
    for question in ("Who?", "Where exactly was it left, and by whom?"):
        usage = model.invoke([("system", document), ("human", question)]).usage_metadata
        assert usage is not None
        cached.append(usage["input_token_details"]["cache_read"])
    other = model.invoke([("system", "X" + document), ("human", "Who?")]).usage_metadata

    assert cached[0] == 0
    assert cached[1] >= 1024
    assert cached[1] % 128 == 0
    assert other is not None
    assert other["input_token_details"]["cache_read"] == 0


@pytest.mark.parametrize("model", ["o4-mini", "gpt-5-mini"])
def test_reasoning_is_inside_the_output(openai_server: Simulator, model: str) -> None:
    usage = ask(openai_server, model=model)["usage"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    starved = ask(openai_server, model=model, max_completion_tokens=16)

    assert 0 < reasoning < usage["completion_tokens"]
    assert starved["usage"]["completion_tokens"] == 16
    assert starved["choices"][0]["finish_reason"] == "length"
    assert ask(openai_server, model=model, reasoning_effort="minimal")["usage"]["completion_tokens_details"] == {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }


@pytest.mark.parametrize(("asked", "billed"), [("flex", "flex"), ("priority", "priority"), ("auto", "default")])
def test_service_tier_is_what_was_billed(openai_server: Simulator, asked: str, billed: str) -> None:
    assert ask(openai_server, service_tier=asked)["service_tier"] == billed


@pytest.mark.parametrize("responses_api", [False, True])
def test_tools_are_called_then_answered(openai_server: Simulator, responses_api: bool) -> None:
    model = chat(openai_server, use_responses_api=responses_api).bind_tools([get_weather, get_time])
    question = HumanMessage("Please get_weather for Bergen and get_time for it too")
    calls = model.invoke([question])
    streamed = reduce(add, model.stream([question]))
    results = [ToolMessage("rain", tool_call_id=call["id"]) for call in calls.tool_calls]

    assert {call["name"] for call in calls.tool_calls} == {"get_weather", "get_time"}
    assert isinstance(calls.tool_calls[0]["args"]["days"], int)
    assert streamed.tool_calls == calls.tool_calls
    assert model.invoke([question, calls, *results]).text != ""


def test_one_tool_at_a_time_or_a_chosen_one(openai_server: Simulator) -> None:
    question = "get_weather and get_time"
    one = chat(openai_server).bind_tools([get_weather, get_time], parallel_tool_calls=False).invoke(question)
    chosen = chat(openai_server).bind_tools([get_weather, get_time], tool_choice="get_time").invoke(question)

    assert len(one.tool_calls) == 1
    assert [call["name"] for call in chosen.tool_calls] == ["get_time"]


@pytest.mark.parametrize("responses_api", [False, True])
def test_structured_output_satisfies_the_schema(openai_server: Simulator, responses_api: bool) -> None:
    model = chat(openai_server, use_responses_api=responses_api)

    assert isinstance(model.with_structured_output(Ticket).invoke("Make a ticket"), Ticket)
    json_mode = model.with_structured_output(None, method="json_mode").invoke("Answer as json")
    assert isinstance(json_mode, dict)


def test_responses_api_streams_what_it_answers(openai_server: Simulator) -> None:
    model = chat(openai_server, model="gpt-5-mini", use_responses_api=True)
    answer, streamed = model.invoke("Hello"), reduce(add, model.stream("Hello"))

    assert answer.text == streamed.text != ""
    assert answer.usage_metadata == streamed.usage_metadata
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_token_details"]["reasoning"] > 0


def test_text_completions(openai_server: Simulator) -> None:
    model = OpenAI(base_url=openai_server.base_url, api_key="simulated", model="gpt-3.5-turbo-instruct", max_tokens=40)
    result = model.generate(["One", "Two"])

    assert len(result.generations) == 2
    assert "".join(model.stream("One")) == model.invoke("One")
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["completion_tokens"] > 0


def test_embeddings_are_equal_for_equal_texts_and_near_for_similar_ones(openai_server: Simulator) -> None:
    options: dict[str, Any] = {"base_url": openai_server.base_url, "api_key": "simulated"}
    model = OpenAIEmbeddings(**options, check_embedding_ctx_length=False)
    refund, again, similar, other = model.embed_documents(
        ["how do refunds work", "how do refunds work", "how do refunds work here", "boots in size nine"]
    )
    as_floats = post(openai_server, "/embeddings", model=model.model, input="how do refunds work").json()

    assert len(refund) == 1536
    assert refund == again
    assert sum(map(float.__mul__, refund, similar)) > 0.8 > 0.3 > sum(map(float.__mul__, refund, other))
    assert as_floats["data"][0]["embedding"] == pytest.approx(refund, abs=1e-6)
    assert as_floats["usage"]["prompt_tokens"] == 4
    assert (
        len(post(openai_server, "/embeddings", model="m", input="x", dimensions=8).json()["data"][0]["embedding"]) == 8
    )


def test_models_are_listed(openai_server: Simulator) -> None:
    listed = httpx.get(f"{openai_server.base_url}/models", timeout=60).json()
    assert "gpt-4o-mini" in [model["id"] for model in listed["data"]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
        ("/chat/completions", {"model": "gpt-4o", "messages": []}),
        ("/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": 3}]}),
        ("/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}], "max_tokens": -1}),
        ("/completions", {"model": "gpt-3.5-turbo-instruct"}),
        ("/responses", {"model": "gpt-4o"}),
        ("/embeddings", {"model": "text-embedding-3-small", "input": []}),
    ],
)
def test_bad_requests_are_refused_like_at_openai(openai_server: Simulator, path: str, body: dict[str, Any]) -> None:
    response = post(openai_server, path, **body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_scripted_answers(openai_server: Simulator) -> None:
    def reply(body: dict[str, Any]) -> Any:
        match body["messages"][-1]["content"]:
            case "text":
                return "Two words."
            case "tool":
                return {"tool_calls": [{"name": "get_time", "arguments": {"zone": "UTC"}}]}
            case "refuse":
                return {"refusal": "I will not.", "output_tokens": 1000}
            case "fault":
                return Fault(status=500)
        return None

    openai_server.reply = reply
    model = chat(openai_server)

    assert model.invoke("text").content == "Two words."
    assert model.invoke("tool").tool_calls[0]["args"] == {"zone": "UTC"}
    refused = model.invoke("refuse")
    assert refused.additional_kwargs["refusal"] == "I will not."
    assert refused.usage_metadata is not None
    assert refused.usage_metadata["output_tokens"] == 1000
    with pytest.raises(Exception, match="simulated 500"):
        model.invoke("fault")
    assert "default" in model.invoke("default").text


def test_requests_are_recorded_without_secrets(openai_server: Simulator) -> None:
    chat(openai_server).invoke("Hello", max_tokens=7)
    (recorded,) = openai_server.requests

    assert recorded.body["max_completion_tokens"] == 7
    assert recorded.usage is not None
    assert recorded.usage["total_tokens"] > 0
    assert "sk-very-secret" not in repr(recorded)
    openai_server.reset()
    assert (openai_server.count, openai_server.requests) == (0, [])


@pytest.mark.parametrize("text", ["429;retry_after=2", "500", "503", "drop=1", "malformed"])
@pytest.mark.parametrize("streamed", [False, True])
def test_faults_reach_the_client(openai_server: Simulator, text: str, streamed: bool) -> None:
    openai_server.faults.append(Fault.parse(text))
    model = chat(openai_server)
    with pytest.raises(Exception, match=r"simulated|Connection error|peer closed|Expecting|Unterminated"):
        list(model.stream("Hello")) if streamed else model.invoke("Hello")

    assert model.invoke("Hello").text  # only the scripted request suffers


def test_a_dropped_stream_delivers_what_it_promised(openai_server: Simulator) -> None:
    openai_server.faults.append(Fault(drop=3))
    delivered = 0

    def count() -> None:
        nonlocal delivered
        for _ in chat(openai_server).stream("Hello"):
            delivered += 1

    with pytest.raises(Exception, match="Connection error|peer closed"):  # the wording is the client version's
        count()
    assert delivered == 3


def test_retry_after_is_sent_and_clients_retry(openai_server: Simulator) -> None:
    openai_server.faults.append(Fault(status=429, retry_after=0.01))
    assert chat(openai_server, max_retries=1).invoke("Hello").text
    assert [recorded.status for recorded in openai_server.requests] == [429, 200]


def test_a_header_asks_for_a_fault(openai_server: Simulator) -> None:
    model = chat(openai_server, default_headers={"x-simulate-fault": "503"})
    with pytest.raises(Exception, match="simulated 503"):
        model.invoke("Hello")
    nonsense = chat(openai_server, default_headers={"x-simulate-fault": "nonsense"})
    with pytest.raises(Exception, match="cannot read the fault"):
        nonsense.invoke("Hello")


def test_hanging_requests_time_out_and_do_not_hold_the_server_up() -> None:
    with Simulator(faults=[Fault(hang=600)]) as server:
        with pytest.raises(Exception, match="timed out"):
            chat(server, timeout=0.2).invoke("Hello")
        assert chat(server).invoke("Hello").text


def test_fault_rate_is_a_seeded_share() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    def statuses() -> list[int]:
        with Simulator(fault_rate=0.3, seed=5) as server, httpx.Client(timeout=60) as client:
            return [client.post(f"{server.base_url}/chat/completions", json=body).status_code for _ in range(60)]

    first = statuses()
    assert first == statuses()
    assert 8 <= sum(status != 200 for status in first) <= 28
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        Simulator(fault_rate=1.5)


def test_latency_is_deterministic_and_grows_with_the_output() -> None:
    latency = Latency(median=1.0, sigma=0.5, per_token=0.01)
    assert latency.total(100, Random(1)) == latency.total(100, Random(1))
    assert latency.total(200, Random(1)) == pytest.approx(latency.total(100, Random(1)) + 1.0)
    assert latency.until_first(2.0) == pytest.approx(0.6)
    assert Latency(first_token=0.2).until_first(2.0) == 0.2


async def test_hundreds_of_requests_overlap(openai_server: Simulator) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    url = f"{openai_server.base_url}/chat/completions"
    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=150)) as client:
        with openai_server.hold():
            posts = [asyncio.create_task(client.post(url, json=body)) for _ in range(150)]
            await asyncio.to_thread(openai_server.wait_for_requests, 150)
            assert not any(post.done() for post in posts)
        answers = await asyncio.gather(*posts)
    assert [answer.status_code for answer in answers] == [200] * 150


def test_requests_that_do_not_come_are_not_waited_for_without_end(openai_server: Simulator) -> None:
    openai_server.wait_for_requests(0)
    ask(openai_server)
    openai_server.wait_for_requests(1)
    with pytest.raises(TimeoutError, match="1 of 2 requests arrived"):
        openai_server.wait_for_requests(2, timeout=0.01)


def test_a_taken_port_is_a_clear_error(openai_server: Simulator) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{openai_server.port}"):
        Simulator(port=openai_server.port).start()


JSON_SCHEMAS = st.recursive(
    st.one_of(
        st.builds(
            lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
            st.integers(-99, 99),
            st.integers(0, 9),
        ),
        st.just({"type": "string", "minLength": 4, "maxLength": 9}),
        st.just({"type": ["null", "boolean"]}),
        st.just({"enum": ["a", 1, None]}),
    ),
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items, "minItems": 1, "maxItems": 2}, inner),
        st.builds(
            lambda properties: {"type": "object", "properties": properties, "required": list(properties)},
            st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, min_size=1),
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(schema=JSON_SCHEMAS, seed=st.integers(0, 99))
def test_examples_satisfy_their_schema(schema: dict[str, Any], seed: int) -> None:
    assert _satisfies(example(schema, Random(seed)), schema)


def _satisfies(value: Any, schema: dict[str, Any]) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "integer":
            return isinstance(value, int) and schema["minimum"] <= value <= schema["maximum"]
        case "string":
            return isinstance(value, str) and 4 <= len(value) <= 9
        case "array":
            return 1 <= len(value) <= 2 and all(_satisfies(item, schema["items"]) for item in value)
        case "object":
            return all(_satisfies(value[name], part) for name, part in schema["properties"].items())
    return value is None or isinstance(value, bool)
