"""Which settings and parts of messages make another question, wherever a class keeps them."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.bridge.pydantic import BaseModel, PrivateAttr
from llama_index.core.llms import ChatMessage, CompletionResponse, CustomLLM, ImageBlock, LLMMetadata, MockLLM
from llama_index.llms.openai import OpenAIResponses
from llamaindex_calls import SECRET

from costguard_core import CostGuard
from costguard_core.simulate import Simulator
from llamaindex_costguard import CachePolicy, ExactCache, guard_llm

HOSTED: dict[str, dict[str, Any]] = {
    "a setting": {"built_in_tools": [{"type": "web_search_preview"}]},
    "an argument": {"additional_kwargs": {"tools": [{"type": "web_search"}]}},
}


class Options(BaseModel):
    style: Any = None


class OtherOptions(Options):
    """With the same fields."""


class Adapted(CustomLLM):
    """Keeps what makes its answers to itself, as some integrations do."""

    options: Any = None
    _style: Any = PrivateAttr(default=None)

    def __init__(self, style: Any = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._style = style

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="adapted")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=f"{self._style!r} {self.options!r}")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt)


@pytest.mark.parametrize(
    "styles",
    [
        [{"tone": "terse"}, {"tone": "warm"}],
        [["a"], ["b"], ("c",), {"d"}, None, True],
        [Options(style=1), Options(style=2), OtherOptions(style=2)],
        [MockLLM(max_tokens=1), MockLLM(max_tokens=2), Adapted("a"), Adapted("b")],
    ],
    ids=["mappings", "collections", "objects", "models"],
)
@pytest.mark.parametrize("private", [True, False])
def test_whatever_makes_the_answer_makes_the_key(styles: list[Any], private: bool) -> None:
    guard, cache = CostGuard(), ExactCache()
    for style in styles:
        made = Adapted(style) if private else Adapted(options=style)
        llm = guard_llm(made, guard, cache=cache)
        said = made.complete("hi").text
        assert [llm.complete("hi").text for _ in range(2)] == [said, said]
    assert (cache.stats().stored, cache.stats().hits) == (len(styles), len(styles))


def test_settings_that_change_are_noticed() -> None:
    options = Options(style={"tone": ["terse"]})
    llm = guard_llm(Adapted(options=options), CostGuard(), cache="memory://")
    terse = llm.complete("hi").text
    options.style["tone"].append("very")
    assert llm.complete("hi").text != terse


def test_a_setting_without_a_written_form_is_no_error_and_no_key() -> None:
    cache = ExactCache()
    for style in (Options(style=object()), {"client": object()}):
        assert guard_llm(Adapted(style), CostGuard(), cache=cache).complete("hi").text
        assert guard_llm(Adapted(options=style), CostGuard(), cache=cache).complete("hi").text
    assert sum(cache.stats().declined.values()) == 4


@pytest.mark.parametrize("given", HOSTED)
def test_hosted_tools_among_the_settings_are_live(given: str, openai_server: Simulator) -> None:
    cache = ExactCache()
    made = OpenAIResponses(
        model="gpt-4o-mini", api_base=openai_server.base_url, api_key=SECRET, max_retries=0, **HOSTED[given]
    )
    llm = guard_llm(made, CostGuard(), cache=cache)
    for _ in range(2):
        llm.chat([ChatMessage(role="user", content="who won the cup?")])
    made._client.close()
    assert openai_server.count == 2
    assert cache.stats().declined == {"hosted tools fetch live data": 2}


def test_an_option_that_searches_is_live(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(additional_kwargs={"web_search_options": {}}), CostGuard(), cache="memory://")
    for _ in range(2):
        llm.chat([ChatMessage(role="user", content="who won the cup?")])
    assert openai_server.count == 2


def test_a_hosted_tool_that_signs_in_is_never_cached(make_anthropic: Any) -> None:
    cache = ExactCache(policy=CachePolicy(cache_dynamic=True))
    server = {"type": "url", "url": "https://mcp.example.com", "authorization_token": SECRET}
    assert cache.request_layers(_content(make_anthropic(mcp_servers=[server]))) == []
    assert cache.stats().declined == {"no exact key can be made from a tool that signs in as somebody": 1}


def _content(llm: Any) -> Any:
    from llamaindex_costguard.translate.keys import RequestContent, who_asks
    from llamaindex_costguard.translate.messages import Chat
    from llamaindex_costguard.translate.parameters import model_settings

    return RequestContent(
        model_settings(llm, type(llm)), Chat([ChatMessage(role="user", content="hi")]), {}, None, who_asks()
    )


def test_headers_of_a_call_make_another_question_also_by_who_signs_in(
    make_openai: Any, openai_server: Simulator
) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    question = [ChatMessage(role="user", content="hi")]
    mine, others = {"Authorization": "Bearer 1"}, {"authorization": "Bearer 2"}
    for headers in ({"X-Variant": "a"}, {"X-Variant": "b"}, mine, others, {**mine, "X-Request-Id": "7"}):
        llm.chat(question, extra_headers=headers)
    assert openai_server.count == 4


@pytest.mark.parametrize("at", ["the model", "the call"])
def test_callers_with_other_headers_share_where_the_policy_says_so(
    make_openai: Any, openai_server: Simulator, at: str
) -> None:
    cache = ExactCache(policy=CachePolicy(share_across_credentials=True))
    question = [ChatMessage(role="user", content="hi")]
    for token in ("Bearer 1", "Bearer 2"):
        headers = {"Authorization": token}
        llm = make_openai(default_headers=headers) if at == "the model" else make_openai()
        guarded = guard_llm(llm, CostGuard(), cache=cache)
        guarded.chat(question, **({"extra_headers": headers} if at == "the call" else {}))
    assert openai_server.count == 1


def test_a_sound_that_was_said_before_is_part_of_the_question(make_openai: Any, openai_server: Simulator) -> None:
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    for sound in ("audio_a", "audio_b"):
        before = ChatMessage(role="assistant", content="", additional_kwargs={"audio": {"id": sound}})
        llm.chat([before, ChatMessage(role="user", content="say it again")])
    assert openai_server.count == 2


def test_an_image_counts_also_where_it_came_with_a_path(
    make_openai: Any, openai_server: Simulator, tmp_path: Any
) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 16)
    llm = guard_llm(make_openai(), CostGuard(), cache="memory://")
    for colour in (b"\x00", b"\x01"):
        image = ImageBlock(image=b"\x89PNG\r\n\x1a\n" + colour * 16, path=path, image_mimetype="image/png")
        llm.chat([ChatMessage(role="user", blocks=[image])])
    assert openai_server.count == 2
