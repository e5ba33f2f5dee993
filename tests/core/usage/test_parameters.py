"""What is remembered of a request's parameters is what they say."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from costguard_core.usage.parameters import UNKNOWN, Known, _worked_out, terms_of

NAMES = (
    "model model_name n max_tokens max_completion_tokens service_tier speed extra_body tools modalities "
    "thinking_budget web_search_options cache_control"
).split()
VALUES = st.sampled_from(
    [None, True, False, 0, 1, 1.0, 2, 2.0, -1, "gpt-4o", "claude-opus-4-7", "fast", "flex", "audio", ["audio"],
     {"max_tokens": 7, "service_tier": "priority"}, [{"type": "web_search"}], [{"name": "f", "cache_control": {}}]]
)  # fmt: skip
DESCRIBED: Any = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from(["gpt-4o", "claude-opus-4-7", None]),
        "provider": st.sampled_from(["openai", "anthropic", None]),
        "limit": st.sampled_from([None, True, 1, 64]),
    },
)


def possible(name: str, value: Any) -> bool:
    """What an integration can be given under this name."""
    if name == "tools":
        return value is None or (isinstance(value, list) and isinstance(value[0], dict))
    if name == "extra_body":
        return value is None or isinstance(value, dict)
    return name != "modalities" or value is None or isinstance(value, (str, list))


@given(DESCRIBED, st.dictionaries(st.sampled_from(NAMES), VALUES), st.booleans())
def test_remembered_terms_are_those_that_are_worked_out(
    described: dict[str, Any], params: dict[str, Any], counts: bool
) -> None:
    params = {name: value for name, value in params.items() if possible(name, value)}
    known = Known(**described)
    assert terms_of(known, params, counts=counts) == _worked_out(known, params, counts=counts)


def test_a_tool_that_was_changed_is_read_again() -> None:
    tool: dict[str, Any] = {"type": "web_search", "max_uses": 2}
    params = {"model": "claude-opus-4-7", "tools": [tool]}
    assert terms_of(Known(provider="anthropic"), params, counts=True).hosted.searches == 2
    tool["max_uses"] = 9
    assert terms_of(Known(provider="anthropic"), params, counts=True).hosted.searches == 9


class Modality(IntEnum):
    """As Google's client has them."""

    TEXT = 1
    AUDIO = 3


@pytest.mark.parametrize("given", [["text", "audio"], ("AUDIO",), [Modality.TEXT, Modality.AUDIO], "audio"])
def test_sound_is_asked_for_in_several_spellings(given: Any) -> None:
    assert terms_of(UNKNOWN, {"response_modalities": given}, counts=False).speaks
    assert not terms_of(UNKNOWN, {"response_modalities": ["TEXT", Modality.TEXT], "modalities": 3}, counts=False).speaks
