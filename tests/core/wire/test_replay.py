"""A whole answer as a stream, read back by the same format: nothing of it is lost, however the bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.wire import CHAT, COMPLETIONS, EMBEDDINGS, FORMATS, MESSAGES, RESPONSES, WireFormat, form_of
from costguard_core.wire.sse import DONE, EventReader, data_of, event_of

TEXT = st.text(max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
COUNT = st.integers(0, 10_000)


@st.composite
def chat_responses(draw: st.DrawFn) -> dict[str, Any]:
    choices = []
    for index in range(draw(st.integers(1, 3))):
        message: dict[str, Any] = {"role": "assistant", "content": draw(TEXT | st.none())}
        if draw(st.booleans()):
            message["refusal"] = draw(TEXT)
        if draw(st.booleans()):
            message["reasoning_content"] = draw(TEXT)
        calls = [
            {
                "id": f"call_{n}",
                "type": "function",
                "function": {"name": draw(TEXT), "arguments": json.dumps(draw(JSON))},
            }
            for n in range(draw(st.integers(0, 3)))
        ]
        if calls:
            message["tool_calls"] = calls
        choices.append({"index": index, "message": message, "finish_reason": "tool_calls" if calls else "stop"})
    usage = {"prompt_tokens": draw(COUNT), "completion_tokens": draw(COUNT), "total_tokens": draw(COUNT)}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "gpt-4o-mini"}
    return {**head, "choices": choices, "usage": usage}


@st.composite
def completion_responses(draw: st.DrawFn) -> dict[str, Any]:
    choices = [
        {"index": index, "text": draw(TEXT), "logprobs": None, "finish_reason": "stop"}
        for index in range(draw(st.integers(1, 3)))
    ]
    usage = {"prompt_tokens": draw(COUNT), "completion_tokens": draw(COUNT), "total_tokens": draw(COUNT)}
    return {"id": "cmpl-1", "object": "text_completion", "created": 5, "model": "m", "choices": choices, "usage": usage}


@st.composite
def message_responses(draw: st.DrawFn) -> dict[str, Any]:
    block = st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXT),
        st.builds(lambda text: {"type": "text", "text": text, "citations": [{"type": "page", "text": text}]}, TEXT),
        st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": f"sig{text}"}, TEXT),
        st.builds(
            lambda name, given: {"type": "tool_use", "id": "toolu_1", "name": name, "input": given},
            TEXT,
            st.dictionaries(TEXT, JSON, max_size=3),
        ),
        st.builds(lambda data: {"type": "redacted_thinking", "data": data}, TEXT),
    )
    usage = {"input_tokens": draw(COUNT), "output_tokens": draw(COUNT), "cache_read_input_tokens": draw(COUNT)}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": draw(st.lists(block, max_size=4)),
        "stop_reason": draw(st.sampled_from(["end_turn", "tool_use", "stop_sequence"])),
        "stop_sequence": draw(st.none() | TEXT),
        "usage": usage,
    }


@st.composite
def item_responses(draw: st.DrawFn) -> dict[str, Any]:
    part = st.one_of(
        st.builds(lambda text: {"type": "output_text", "text": text, "annotations": []}, TEXT),
        st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXT),
    )
    item = st.one_of(
        st.builds(
            lambda parts: {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": parts,
            },
            st.lists(part, min_size=1, max_size=3),
        ),
        st.builds(
            lambda name, given: {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "call_1",
                "name": name,
                "arguments": json.dumps(given),
                "status": "completed",
            },
            TEXT,
            JSON,
        ),
        st.builds(lambda text: {"type": "reasoning", "id": "rs_1", "summary": [{"type": "s", "text": text}]}, TEXT),
    )
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 5,
        "status": draw(st.sampled_from(["completed", "incomplete"])),
        "model": "gpt-4o-mini",
        "output": draw(st.lists(item, max_size=4)),
        "usage": {"input_tokens": draw(COUNT), "output_tokens": draw(COUNT), "total_tokens": draw(COUNT)},
    }


RESPONSES_OF: dict[str, tuple[WireFormat, Any]] = {
    "chat": (CHAT, chat_responses()),
    "completions": (COMPLETIONS, completion_responses()),
    "messages": (MESSAGES, message_responses()),
    "responses": (RESPONSES, item_responses()),
}


@pytest.mark.parametrize("name", RESPONSES_OF)
@given(data=st.data())
def test_a_replayed_stream_amounts_to_the_answer(name: str, data: st.DataObject) -> None:
    form, answers = RESPONSES_OF[name]
    answer = data.draw(answers)
    wire = b"".join(form.events(answer, with_usage=True))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    reader, assembly = EventReader(), form.assembly()
    assert assembly.body is None
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        for event in reader.feed(wire[start:end]):
            if (found := data_of(event)) is not None:
                assembly.add(found)
    assert reader.rest() == b""
    assert assembly.finished
    assert assembly.body == answer
    assert form_of(answer) is form


@pytest.mark.parametrize("name", RESPONSES_OF)
@given(data=st.data())
def test_a_stream_that_was_cut_is_not_finished(name: str, data: st.DataObject) -> None:
    form, answers = RESPONSES_OF[name]
    events = [data_of(event) for event in form.events(data.draw(answers), with_usage=True)]
    # In a chat or completion each choice says that it has ended; the usage follows.
    told = [event for event in events if event is not None and event.get("choices") != []]
    choices = len({choice["index"] for event in told for choice in event.get("choices", ())})
    assembly = form.assembly()
    for event in told[: data.draw(st.integers(0, len(told) - 1))]:
        assembly.add(event)
    assert not (assembly.finished and form.is_whole({"n": choices}, assembly.body or {}))


def test_probabilities_of_all_chunks_are_kept() -> None:
    assembly = CHAT.assembly()
    for token in "ab":
        found = {"content": [{"token": token, "logprob": -1}]}
        choice = {"index": 0, "delta": {"content": token}, "logprobs": found, "finish_reason": None}
        assembly.add({"id": "1", "model": "m", "choices": [choice]})
    assembly.add({"choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]})
    assert assembly.body is not None
    [choice] = assembly.body["choices"]
    assert [one["token"] for one in choice["logprobs"]["content"]] == ["a", "b"]


@given(chat_responses() | completion_responses())
def test_a_client_that_did_not_ask_for_usage_does_not_see_it(answer: dict[str, Any]) -> None:
    form = form_of(answer)
    assert form is not None
    hidden = b"".join(form.events(answer, with_usage=False))
    assert b'"usage"' not in hidden or '"usage"' in json.dumps(answer["choices"])
    # The same by taking it out of a stream that has it, as is done with a provider's.
    shown = [data_of(event) for event in form.events(answer, with_usage=True) if event != DONE]
    left = [kept for event in shown if event is not None and (kept := form.without_usage(event)) is not None]
    assert b"".join([*map(event_of, left), DONE]) == hidden


@given(message_responses(), chat_responses(), item_responses())
def test_the_tools_of_the_application_that_are_called_are_read(
    message: dict[str, Any], chat: dict[str, Any], items: dict[str, Any]
) -> None:
    used = [block["name"] for block in message["content"] if block["type"] == "tool_use"]
    assert list(MESSAGES.called_tools(message)) == used
    called = [
        call["function"]["name"] for choice in chat["choices"] for call in choice["message"].get("tool_calls", ())
    ]
    assert list(CHAT.called_tools(chat)) == called
    assert len(RESPONSES.called_tools(items)) == sum(item["type"] == "function_call" for item in items["output"])


@pytest.mark.parametrize("path", [path for path, form in FORMATS.items() if form is not EMBEDDINGS])
def test_a_static_answer_can_be_streamed_and_says_its_text(path: str) -> None:
    form = FORMATS[path]
    answer = form.static("m", "Come back tomorrow.", id="costguard-1", now=5)
    assert answer is not None
    assert form.text(answer) == "Come back tomorrow."
    assembly = form.assembly()
    for event in form.events(answer, with_usage=True):
        if (found := data_of(event)) is not None:
            assembly.add(found)
    assert assembly.body == answer


def test_chunks_of_other_servers_are_put_together() -> None:
    """Names and ids said again in each chunk (vLLM), a role without content, calls without an index."""
    assembly = CHAT.assembly()
    head = {"id": "1", "model": "m"}
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    again = {"index": 0, "id": "c1", "type": "function", "function": {"name": None, "arguments": ": 1}"}}
    for delta in (
        {"role": "assistant", "content": ""},
        {"tool_calls": [call]},
        {"role": "assistant", "tool_calls": [again]},
    ):
        assembly.add({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    assert not assembly.finished
    assembly.add({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    assert assembly.finished
    assert assembly.body is not None
    [choice] = assembly.body["choices"]
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}


def _message_with_a_tool(written: str) -> dict[str, Any]:
    assembly = MESSAGES.assembly()
    assembly.add({"type": "message_start", "message": {"type": "message", "content": []}})
    tool = {"type": "tool_use", "id": "t", "name": "look_up", "input": {}}
    assembly.add({"type": "content_block_start", "index": 0, "content_block": tool})
    delta = {"type": "input_json_delta", "partial_json": written}
    assembly.add({"type": "content_block_delta", "index": 0, "delta": delta})
    assert assembly.body is not None
    return assembly.body


def test_a_tool_without_arguments_is_called_with_none() -> None:
    message = _message_with_a_tool("")
    assert message["content"][0]["input"] == {}
    assert MESSAGES.is_whole({}, message)


@pytest.mark.parametrize("written", ['{"place": "Par', "[1]", '{"a":' * 5000])
def test_arguments_of_a_tool_that_are_no_json_object_are_counted_and_not_kept(written: str) -> None:
    message = _message_with_a_tool(written)
    assert json.dumps(written) in MESSAGES.text(message)
    assert not MESSAGES.is_whole({}, message)
