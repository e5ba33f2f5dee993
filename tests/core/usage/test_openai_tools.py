"""Functions as OpenAI's models read them: https://cookbook.openai.com/articles/openai-harmony#function-calling"""

from __future__ import annotations

import json
from typing import Any

import pytest

from costguard_core.usage.openai_tools import functions_text
from costguard_core.usage.overhead import described_json, hidden_tokens
from costguard_core.usage.token_counter import TokenCounter

COUNTER = TokenCounter()


def function(name: str, parameters: dict[str, Any], description: str = "") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def bound(tools: list[Any], model: str = "gpt-4o") -> int:
    params = {"tools": tools}
    described = described_json(params, "openai", model=model)
    hidden = hidden_tokens(model, "openai", params)
    return COUNTER.count_chat([("user", "")], model=model, tools_json=described, hidden=hidden).bound


def test_a_function_is_a_type_definition() -> None:
    parcel = function(
        "track_parcel",
        {
            "type": "object",
            "properties": {
                "number": {"type": "string", "description": "As printed on the label"},
                "carrier": {"enum": ["post", "courier"]},
                "stops": {"type": "array", "items": {"type": "integer"}},
                "since": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            },
            "required": ["number"],
        },
        "Where is it?",
    )
    text, others = functions_text([parcel, function("ping", {"type": "object", "properties": {}})])
    assert others == []
    written = """namespace functions {

// Where is it?
type track_parcel = (_: {
// As printed on the label
number: string,
carrier?: "post" | "courier",
stops?: number[],
since?: string | null, // default: None
}) => any;

type ping = () => any;

} // namespace functions"""
    assert text == written


def test_a_long_description_is_held_whole() -> None:
    """It was counted at 0.8 of its tokens: 3,170 were held where 3,698 were billed."""
    words = "Depart before dawn, follow the river, and report each bridge by its number. " * 200
    text = COUNTER.count(words, model="gpt-4o").tokens
    assert text < bound([function("scout", {"type": "object", "properties": {}}, words)]) < 1.2 * text + 60


def test_definitions_are_written_where_they_are_referred_to() -> None:
    parameters = {
        "type": "object",
        "$defs": {"Stop": {"type": "object", "properties": {"town": {"type": "string"}}}},
        "properties": {"first": {"$ref": "#/$defs/Stop"}, "rest": {"type": "array", "items": {"$ref": "#/$defs/Stop"}}},
    }
    text, others = functions_text([function("route", parameters)])
    assert others == []
    assert text.count("town?: string") == 2


@pytest.mark.parametrize(
    "tool",
    [
        function(
            "tree",
            {"$defs": {"N": {"properties": {"n": {"$ref": "#/$defs/N"}}}}, "properties": {"r": {"$ref": "#/$defs/N"}}},
        ),
        {
            "type": "custom",
            "custom": {"name": "grammar", "format": {"type": "grammar", "grammar": {"definition": "a: b"}}},
        },
        {"name": "of_claude", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        {"type": "web_search"},
        "no tool",
    ],
    ids=["refers to itself", "custom", "another vendor's form", "hosted", "text"],
)
def test_what_has_no_such_form_is_counted_as_json(tool: Any) -> None:
    text, others = functions_text([tool])
    assert (text, others) == ("", [tool])
    described = described_json({"tools": [tool]}, "openai", model="gpt-4o")
    assert described == json.dumps([tool])


def test_a_schema_that_would_explode_is_counted_as_json() -> None:
    many = {f"N{n}": {"properties": {f"p{k}": {"$ref": f"#/$defs/N{n + 1}"} for k in range(9)}} for n in range(20)}
    tool = function("deep", {"$defs": {**many, "N20": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/N0"}}})
    assert functions_text([tool]) == ("", [tool])


def test_a_format_without_a_schema_adds_nothing() -> None:
    for form in ({"type": "json_object"}, {"type": "text"}, {"format": {"type": "text"}}):
        assert described_json({"response_format": form}, "openai", model="gpt-4o") is None
    schema = {"type": "json_schema", "json_schema": {"name": "S", "schema": {"type": "object"}}}
    assert described_json({"response_format": schema}, "openai", model="gpt-4o") == json.dumps(schema)


def test_functions_beside_a_schema_are_both_counted() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "S", "schema": {"type": "object"}}}
    params = {"tools": [function("ping", {})], "response_format": schema}
    described = described_json(params, "openai", model="gpt-4.1")
    assert described is not None
    assert described.startswith("namespace functions {") and described.endswith(json.dumps(schema))
    alone = COUNTER.count_chat([("user", "")], model="gpt-4.1", tools_json=json.dumps(schema)).bound
    both = COUNTER.count_chat([("user", "")], model="gpt-4.1", tools_json=described).bound
    assert both > alone + 10
