"""Objects and LangChain's strings lead to one key; what comes out of the codec equals what went in."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel, FakeListChatModel, SimpleChatModel
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Uncacheable
from costguard_core.types import Attribution
from langchain_costguard.caches.exact import ExactCache
from langchain_costguard.translate.answers import answer_of, decode
from langchain_costguard.translate.keys import ChatContent, RequestKeys, TextContent
from langchain_costguard.translate.messages import rows_of, rows_of_json

NOBODY = Attribution()
EVERYTHING = CachePolicy(cache_dynamic=True, cache_personal=True)

text = st.text(st.characters(codec="utf-8"), max_size=20)
data = st.dictionaries(text, st.none() | st.booleans() | st.integers() | text, max_size=2)
some_data = st.dictionaries(text, st.booleans() | st.integers() | text, min_size=1, max_size=2)
name = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
blocks = st.lists(st.builds(lambda t: {"type": "text", "text": t}, text), min_size=1, max_size=2)
content = text | blocks
calls = st.lists(
    st.builds(lambda n, a, i: {"name": n, "args": a, "id": i, "type": "tool_call"}, text, data, text), max_size=2
)
message: st.SearchStrategy[BaseMessage] = st.one_of(
    st.builds(HumanMessage, content=content, name=st.none() | text, id=st.none() | text),
    st.builds(SystemMessage, content=content),
    st.builds(AIMessage, content=content, tool_calls=calls, id=st.none() | text, response_metadata=data),
    st.builds(ToolMessage, content=text, tool_call_id=text, status=st.sampled_from(["success", "error"])),
    st.builds(ChatMessage, content=text, role=name),
    st.builds(FunctionMessage, content=text, name=name),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(message, min_size=1, max_size=4))
def test_objects_and_json_are_the_same_rows(messages: list[BaseMessage]) -> None:
    assert rows_of_json(dumps(messages)) == json.loads(json.dumps(rows_of(messages)))


def _chat(messages: list[BaseMessage], model: BaseChatModel | None = None, **kwargs: Any) -> CacheKey | Uncacheable:
    return RequestKeys(EVERYTHING).chat(ChatContent(model or _openai(), messages, None, kwargs, NOBODY))


def _openai(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="gpt-4o-mini", api_key="sk-hunter2", **options)


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"temperature": 0}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"seed": 7}, {"n": 2}],
)
def test_both_ways_to_a_key_agree(kwargs: dict[str, Any]) -> None:
    messages: list[BaseMessage] = [SystemMessage("s"), HumanMessage("hi")]
    keys, model = RequestKeys(EVERYTHING), _openai(temperature=0.5)
    strings = dumps(messages), model._get_llm_string(stop=["END"], **kwargs)
    by_objects = keys.chat(ChatContent(model, messages, ["END"], kwargs, NOBODY))
    assert isinstance(by_objects, CacheKey)
    assert keys.raw(TextContent(*strings, NOBODY)) == by_objects
    assert keys.raw(TextContent(*strings, NOBODY, model=model, stop=["END"], kwargs=kwargs)) == by_objects
    assert RequestKeys(EVERYTHING).chat(ChatContent(model, messages, ["END"], kwargs, NOBODY)) == by_objects
    assert keys.chat(ChatContent(model, messages, None, kwargs, NOBODY)) != by_objects


def test_what_a_conversation_carries_along_is_not_in_the_key() -> None:
    def conversation(call_id: str, **extra: Any) -> list[BaseMessage]:
        call = {"name": "f", "args": {"x": 1}, "id": call_id, "type": "tool_call"}
        use = {"type": "tool_use", "id": call_id, "name": "f", "input": {"x": 1}}
        return [
            HumanMessage("hi", id=extra.get("id")),
            AIMessage([use], tool_calls=[call], **extra),
            ToolMessage("42", tool_call_id=call_id),
        ]

    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2, "total_cost": 0}
    plain = _chat(conversation("call_a"))
    assert isinstance(plain, CacheKey)
    assert _chat(conversation("call_b", id="run-1", usage_metadata=usage, response_metadata={"id": "x"})) == plain
    raw = {"tool_calls": [{"id": "call_c", "function": {"name": "f"}}], "refusal": None}
    assert _chat(conversation("call_c", additional_kwargs=raw)) == plain


def test_which_call_a_result_answers_is_in_the_key() -> None:
    calls = [{"name": "f", "args": {"n": n}, "id": f"c{n}", "type": "tool_call"} for n in (1, 2)]

    def answered(first: str, second: str) -> list[BaseMessage]:
        return [
            AIMessage("", tool_calls=calls),
            ToolMessage("x", tool_call_id=first),
            ToolMessage("y", tool_call_id=second),
        ]

    assert _chat(answered("c1", "c2")) != _chat(answered("c2", "c1"))


def test_a_chunk_in_the_history_is_its_message() -> None:
    assert _chat([AIMessageChunk(content="a"), HumanMessage("b")]) == _chat([AIMessage("a"), HumanMessage("b")])


def _out(**fields: Any) -> type[BaseModel]:
    return type("Out", (BaseModel,), {"__annotations__": fields, "__module__": "__main__"})


def test_schemas_are_keyed_by_what_they_say() -> None:
    ask: list[BaseMessage] = [HumanMessage("hi")]
    one, same, other = _out(name=str), _out(name=str), _out(name=str, n=int)
    assert _chat(ask, response_format=one) == _chat(ask, response_format=same)
    assert _chat(ask, response_format=one) != _chat(ask, response_format=other)


def test_functions_are_keyed_by_their_schema() -> None:
    def first() -> Any:
        @tool
        def look(q: str) -> str:
            """Look it up."""
            return q

        return look

    @tool
    def look(q: int) -> str:
        """Look it up."""
        return str(q)

    ask: list[BaseMessage] = [HumanMessage("hi")]
    assert _chat(ask, tools=[first()]) == _chat(ask, tools=[first()])
    assert _chat(ask, tools=[first()]) != _chat(ask, tools=[look])


@pytest.mark.parametrize("part", [_out(name=str), object(), lambda: 1, float("nan")])
def test_what_only_has_a_name_is_declined_on_the_raw_way(part: Any) -> None:
    keys, model = RequestKeys(EVERYTHING), _openai()
    prompt, llm_string = dumps([HumanMessage("hi")]), model._get_llm_string(response_format=part)
    assert isinstance(keys.raw(TextContent(prompt, llm_string, NOBODY)), Uncacheable)
    known = TextContent(prompt, llm_string, NOBODY, model=model, kwargs={"response_format": part})
    assert isinstance(keys.raw(known), Uncacheable)


def test_a_model_string_with_only_a_name_is_declined() -> None:
    keys = RequestKeys(EVERYTHING)
    assert isinstance(keys.raw(TextContent("p", "[('f', <function f at 0x7f>)]", NOBODY)), Uncacheable)
    assert isinstance(keys.raw(TextContent("p", "model at 0x7f00", NOBODY)), Uncacheable)
    assert isinstance(keys.raw(TextContent("p", '{"id": 3}---[]', NOBODY)), Uncacheable)
    assert isinstance(keys.raw(TextContent("p", "a model of the user's own", NOBODY)), CacheKey)


def test_a_models_parameters_are_read_again_when_they_change() -> None:
    keys, model = RequestKeys(EVERYTHING), _openai(model_kwargs={"variant": "a"})
    ask: list[BaseMessage] = [HumanMessage("hi")]
    seen = {keys.chat(ChatContent(model, ask, None, {}, NOBODY))}
    model.temperature = 0.3
    seen.add(keys.chat(ChatContent(model, ask, None, {}, NOBODY)))
    model.model_kwargs["variant"] = "b"
    seen.add(keys.chat(ChatContent(model, ask, None, {}, NOBODY)))
    model.model_name = "gpt-4o"
    seen.add(keys.chat(ChatContent(model, ask, None, {}, NOBODY)))
    assert len(seen) == 4


def test_models_are_forgotten_with_their_last_user() -> None:
    keys = RequestKeys(EVERYTHING)
    for _ in range(50):
        keys.chat(ChatContent(FakeListChatModel(responses=["a"]), [HumanMessage("hi")], None, {}, NOBODY))
    assert len(keys.models._seen) < 5


def test_models_that_do_not_identify_themselves_are_told_apart() -> None:
    class Forgetful(BaseChatModel):
        model: str
        calls: int = 0

        @property
        def _llm_type(self) -> str:
            return "forgetful"

        def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
            raise NotImplementedError

    ask: list[BaseMessage] = [HumanMessage("hi")]
    assert _chat(ask, Forgetful(model="a")) == _chat(ask, Forgetful(model="a", calls=7))
    assert _chat(ask, Forgetful(model="a")) != _chat(ask, Forgetful(model="b"))


def test_the_question_is_what_the_human_asked_last() -> None:
    def question(messages: list[BaseMessage]) -> str:
        content = ChatContent(FakeListChatModel(responses=["a"]), messages, None, {}, NOBODY)
        return RequestKeys(EVERYTHING).read(content).request().question

    assert question([HumanMessage("a"), AIMessage("b"), HumanMessage("c")]) == "c"
    picture = {"type": "image_url", "image_url": "u"}
    assert question([HumanMessage([{"type": "text", "text": "x"}, picture])]) == "x\n"
    assert question([HumanMessage("where is my order"), ToolMessage("there", tool_call_id="1")]) == ""


usage = st.builds(
    lambda i, o: {"input_tokens": i, "output_tokens": o, "total_tokens": i + o}, st.integers(0, 99), st.integers(0, 99)
)
answers = st.builds(
    AIMessage,
    content=content,
    tool_calls=calls,
    response_metadata=data,
    additional_kwargs=data,
    usage_metadata=st.none() | usage,
    name=st.none() | name,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(answers, max_size=3), st.none() | some_data)
def test_chat_generations_come_back_equal(messages: list[AIMessage], info: dict[str, Any] | None) -> None:
    kept = [ChatGeneration(message=m.model_copy(update={"id": None}), generation_info=info) for m in messages]
    for generation in kept:
        generation.message.response_metadata.pop("costguard", None)
        generation.message.additional_kwargs.pop("parsed", None)
    written = json.loads(json.dumps(answer_of(kept).payload))
    assert decode(written, new_id=lambda: None) == kept  # type: ignore[arg-type, return-value]


@given(text, st.none() | data)
def test_plain_generations_come_back_equal(said: str, info: dict[str, Any] | None) -> None:
    kept = [Generation(text=said, generation_info=info)]
    assert decode(json.loads(json.dumps(answer_of(kept).payload))) == kept


def test_parsed_objects_are_left_to_the_parser() -> None:
    out = _out(name=str)
    message = AIMessage('{"name": "x"}', additional_kwargs={"parsed": out(name="x")})
    (back,) = decode(json.loads(json.dumps(answer_of([ChatGeneration(message=message)]).payload)))
    assert isinstance(back, ChatGeneration)
    assert back.message.additional_kwargs["parsed"] == {"name": "x"}
    block: list[Any] = [{"type": "text", "text": "x"}]
    message = AIMessage(block, additional_kwargs={"parsed": out(name="x")})
    (back,) = decode(json.loads(json.dumps(answer_of([ChatGeneration(message=message)]).payload)))
    assert isinstance(back, ChatGeneration)
    assert back.message.additional_kwargs["parsed"] == {"name": "x"}


def test_messages_of_other_classes_are_not_stored() -> None:
    class Mine(AIMessage):
        extra: str = "x"

    for message in (Mine(content="a"), HumanMessage("a")):
        with pytest.raises(NotCanonical):
            answer_of([ChatGeneration(message=message)])


@pytest.mark.parametrize(
    ("message", "facts"),
    [
        (AIMessage("fine"), (False, False)),
        (AIMessage(""), (False, True)),
        (AIMessage("  "), (False, True)),
        (AIMessage([{"type": "text", "text": ""}]), (False, True)),
        (AIMessage([{"type": "reasoning", "summary": []}]), (False, True)),
        (AIMessage([{"type": "image_url", "image_url": "x"}]), (False, False)),
        (AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}]), (False, False)),
        (AIMessage("", additional_kwargs={"refusal": "no"}), (True, True)),
        (AIMessage([{"type": "refusal", "refusal": "no"}]), (True, False)),
    ],
)
def test_refusals_and_empty_answers_are_recognised(message: AIMessage, facts: tuple[bool, bool]) -> None:
    answer = answer_of([ChatGeneration(message=message)])
    assert (answer.refused, answer.empty) == facts


@pytest.mark.parametrize(
    ("metadata", "complete"),
    [
        ({"finish_reason": "stop"}, True),
        ({"finish_reason": "length"}, False),
        ({"stop_reason": "end_turn"}, True),
        ({"stop_reason": "max_tokens"}, False),
        ({"status": "completed"}, True),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, False),
        ({"finish_reason": "MAX_TOKENS"}, False),
        ({"done_reason": "length"}, False),
    ],
)
def test_every_providers_word_for_cut_off_is_known(metadata: dict[str, Any], complete: bool) -> None:
    answer = answer_of([ChatGeneration(message=AIMessage("text", response_metadata=metadata))])
    assert (CachePolicy().rejects(answer, choices=1, size=10) is None) == complete


class Voice(SimpleChatModel):
    """A model of the user's own that forgets to identify itself."""

    style: str = "plain"
    shout: bool = False

    @property
    def _llm_type(self) -> str:
        return "voice"

    def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return self.style.upper() if self.shout else self.style


def test_the_fields_of_an_unknown_model_are_part_of_it() -> None:
    cache = ExactCache()
    models = [Voice(cache=cache), Voice(style="rough", cache=cache), Voice(shout=True, cache=cache)]
    assert [model.invoke("Say it").content for model in models] == ["plain", "rough", "PLAIN"]
    assert [model.invoke("Say it").content for model in models] == ["plain", "rough", "PLAIN"]
    assert cache.stats().hits == 3


class Spoken(SimpleChatModel):
    """A model of the user's own that is identified by an object which may change."""

    voice: Any = None

    @property
    def _llm_type(self) -> str:
        return "spoken"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"style": self.voice.style}

    def _call(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        return str(self.voice.style)


def test_a_change_inside_an_object_of_an_unknown_model_is_seen() -> None:
    model = Spoken(voice=SimpleNamespace(style="plain"), cache=ExactCache())
    first = model.invoke("Say it").content
    model.voice.style = "rough"
    assert (first, model.invoke("Say it").content) == ("plain", "rough")


@pytest.mark.parametrize("at", ["the model", "the call"])
def test_callers_with_other_headers_share_where_the_policy_says_so(at: str) -> None:
    def key(keys: RequestKeys, token: str | None, *, raw: bool) -> CacheKey | Uncacheable:
        headers = {} if token is None else {"Authorization": token}
        model = _openai(default_headers=headers) if at == "the model" else _openai()
        call: dict[str, Any] = {"extra_headers": headers} if at == "the call" else {}
        if raw:  # a model string that says nothing of headers, as an integration may make it
            return keys.raw(TextContent("hi", "x", NOBODY, model, None, call, complete=at == "the model"))
        return keys.chat(ChatContent(model, [HumanMessage("hi")], None, call, NOBODY))

    for raw in (False, True):
        apart, together = RequestKeys(EVERYTHING), RequestKeys(replace(EVERYTHING, share_across_credentials=True))
        tokens = ("Bearer alice", "Bearer bob", None)
        assert len({key(apart, token, raw=raw) for token in tokens}) == 3
        assert len({key(together, token, raw=raw) for token in tokens}) == 1
        assert key(together, None, raw=raw) == key(apart, None, raw=raw)


def test_callers_with_other_headers_do_not_share_and_what_only_files_a_call_splits_nothing() -> None:
    keys, strict, ask = RequestKeys(EVERYTHING), RequestKeys(CachePolicy()), list[BaseMessage]([HumanMessage("hi")])

    def key(by: RequestKeys = keys, **options: Any) -> CacheKey | Uncacheable:
        return by.chat(ChatContent(_openai(**options), ask, None, {}, NOBODY))

    alice = key(default_headers={"Authorization": "Bearer alice"})
    assert isinstance(alice, CacheKey)
    assert alice == key(default_headers={"authorization": "Bearer alice", "traceparent": "1"})
    assert len({alice, key(default_headers={"Authorization": "Bearer bob"}), key()}) == 3
    aside = [{"service_tier": "flex"}, {"extra_body": {"user": "u1"}}, {"model_kwargs": {"safety_identifier": "x"}}]
    assert {key(**options) for options in aside} == {key()}
    for option in ({"conversation": "conv_1"}, {"previous_response_id": "resp_1"}):
        assert isinstance(key(strict, extra_body=option), Uncacheable)
