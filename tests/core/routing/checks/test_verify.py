"""Checks of cheap answers: what they must catch, and above all what they must let pass."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from costguard_core.errors import ConfigurationError
from costguard_core.routing import Answer
from costguard_core.routing.checks.answer_profile import usual
from costguard_core.routing.checks.answers import final_answer, final_number, number_in
from costguard_core.routing.checks.arithmetic import sums, value_of
from costguard_core.routing.checks.schema import schema_errors
from costguard_core.routing.checks.verify import (
    arithmetic,
    complete,
    every,
    has_final_answer,
    has_final_number,
    known_tools,
    matches,
    not_refused,
    satisfies,
    valid_json,
)


@pytest.mark.parametrize(
    "text",
    [
        "12 * 3 = 38",
        "She has 5 - 2 = 4 left.",
        "48/2 = <<48/2=25>>25 clips",
        r"so $12 \times 3 = 35$",
        "$1,200 - $200 = $900",
        "That is 2 x 3 = 7.",
        "2 + 3 = 5 and then 5 * 4 = 21",
        "7 / 2 = 3",
        "(2+3)*4 = 24 dollars",
        "10 / 50 = 25%",
    ],
)
def test_wrong_sums_are_found(text):
    assert not arithmetic()(Answer(text)).ok


@pytest.mark.parametrize(
    "text",
    [
        "",
        "48/2 = <<48/2=24>>24 clips. 48+24 = <<48+24=72>>72\n#### 72",
        "5 apples + 3 * 2 = 11",
        "5 apples - 3 * 2 = 4",
        "3 + 4 = 7 + 1 = 8",
        "1/3 = 0.33",
        "20% * 50 = 10",
        "10/50 = 20%",
        "x + 3 = 5",
        "2^3 + 1 = 9",
        "3 * 5=15+2",
        "10:30 - 9 = 1",
        "1/0 = 5",
        "30 minutes / 60 = 0.5 hours",
        "2 * 3x = 12",
        "a == b and 1 != 2",
        "(" * 5000 + "1 = 2",
    ],
)
def test_what_is_right_or_cannot_be_read_passes(text):
    assert arithmetic()(Answer(text)).ok


@given(st.integers(-999, 999), st.integers(1, 999), st.sampled_from("+-*/"))
def test_every_simple_sum_is_judged_right(one, two, sign):
    exact = {"+": one + two, "-": one - two, "*": one * two, "/": one / two}[sign]
    (found,) = sums(f"Then {one} {sign} {two} = {exact:.4f} in all.")
    assert found.holds
    (wrong,) = sums(f"Then {one} {sign} {two} = {exact + 1:.4f} in all.")
    assert not wrong.holds


@given(st.text(alphabet="0123456789+-*/()=.,%$ x\n", max_size=300))
def test_any_scribble_is_survived(text):
    assert len(sums(text)) <= 100


@given(st.text(max_size=200))
def test_every_check_survives_every_answer(text):
    checks = [complete(), not_refused(), valid_json(), has_final_answer(), has_final_number(whole=True), arithmetic()]
    for check in checks:
        assert check(Answer(text)).ok in (True, False)


def test_expressions_are_exact():
    assert value_of("0.1 + 0.2") == value_of("0.3")
    assert value_of("1 - 2 - 3") == -4
    assert value_of("2 * -(3 + 1)") == -8
    assert value_of("__import__('os')") is None
    assert value_of("9" * 500) is None


@pytest.mark.parametrize(
    ("text", "result", "number"),
    [
        ("... so\n#### 72", "72", 72),
        (r"Thus \boxed{\frac{3}{4}}", r"\frac{3}{4}", 3),
        ("The answer is **1,200.50** dollars", "1,200.50** dollars", 1200.5),
        ("The final answer: -3", "-3", -3),
        ("#### 1\nwait\n#### 2", "2", 2),
        ("answer = 3/4", "3/4", 0.75),
        ("I think it is seven", None, None),
        ("#### none", "none", None),
    ],
)
def test_final_answers(text, result, number):
    assert final_answer(text) == result
    assert final_number(text) == number


def test_numbers_that_are_none():
    assert number_in("1/0") is None
    assert number_in("") is None


def test_json():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert valid_json(schema)(Answer('{"a": 1}')).ok
    assert valid_json(schema)(Answer('```json\n{"a": 1}\n```')).ok
    assert valid_json(schema)(Answer("Sure! {}")).reason == "not JSON"
    assert valid_json(schema)(Answer('{"a": "secret"}')).reason == "schema: $.a: not of type integer"
    assert not valid_json()(Answer("[" * 100_000)).ok


def test_a_pydantic_model_as_schema_and_no_answer_in_the_reason():
    class Person(BaseModel):
        name: str
        age: int

    check = valid_json(Person)
    assert check(Answer('{"name": "Ada", "age": 36}')).ok
    assert check(Answer('{"name": "Ada"}')).reason == "does not fit Person (1 errors)"


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"enum": ["a", 1]}, "a", True),
        ({"const": False}, False, 0),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, 0.5, 1),
        ({"type": "integer"}, 2.0, 2.5),
        ({"type": "integer"}, 2, True),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, ["a"], []),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": False}, [1], [1, 2]),
        ({"uniqueItems": True}, [1, True], [1, 1]),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"additionalProperties": {"type": "string"}}, {"x": "y"}, {"x": 1}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, None, 1),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, 0.5, 1),
        ({"allOf": [{"minLength": 2}, {"maxLength": 3}]}, "abc", "abcd"),
        ({"not": {"type": "null"}}, 1, None),
        ({"pattern": "^a"}, "ab", "ba"),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}}, "a", 1),
        (False, None, 1),
    ],
)
def test_schemas(schema, good, bad):
    if schema is not False:
        assert schema_errors(good, schema) == []
        assert schema_errors(bad, schema)
    else:
        assert schema_errors({"a": bad}, {"properties": {"a": schema}})


def test_a_schema_that_refers_to_itself_ends():
    assert schema_errors({}, {"$ref": "#"}) == []
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert schema_errors({"next": {"next": 3}}, tree) == ["$.next.next: not of type object"]


def test_an_invalid_schema_is_refused_when_the_check_is_made():
    with pytest.raises(ConfigurationError, match="not a JSON schema"):
        valid_json({"type": "text"})


def test_references_to_other_documents_are_not_fetched():
    schema = {"$ref": "http://127.0.0.1:9/schema.json"}
    assert schema_errors({}, schema) == ["$: the schema refers to what is not in it"]
    assert not valid_json(schema)(Answer("{}")).ok


def test_a_schema_is_checked_by_the_draft_that_it_names():
    tuples = {"items": [{"type": "string"}], "additionalItems": False}
    assert schema_errors(["a", "b"], {"$schema": "http://json-schema.org/draft-07/schema#", **tuples})


def test_schema_errors_quote_no_values():
    (error,) = schema_errors({"card 4111": "x"}, {"additionalProperties": False})
    assert "4111" not in error
    schema = {"properties": {"a": {}}, "additionalProperties": {"type": "integer"}, "required": ["a", "b"]}
    assert schema_errors({"card 4111": "x"}, schema) == ["$.*: not of type integer", "$: lacks a, b"]


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "As an AI language model, I have no opinion.",
        "I cannot answer this.",
        "Unfortunately, I am unable to do so.",
        "I don't know.",
    ],
)
def test_refusals(text):
    assert not not_refused()(Answer(text)).ok


@pytest.mark.parametrize(
    "text", ["I can do that.", "Sorry for the delay: it is 4.", "He said: I cannot swim.", "", "Cannot is one word."]
)
def test_what_is_no_refusal(text):
    assert not_refused()(Answer(text)).ok


def test_completeness():
    assert complete()(Answer("x", finish_reason="length")).reason == "cut short (length)"
    assert complete()(Answer("  ")).reason == "empty"
    assert complete()(Answer("", tool_calls=("search",))).ok
    assert complete()(Answer("Paris")).ok
    long = "It goes on and on without an end " * 20
    assert complete()(Answer(long)).reason == "breaks off"
    assert complete()(Answer(long, finish_reason="stop")).ok
    assert not complete()(Answer("```python\nprint(")).ok


def test_tools_that_exist():
    check = known_tools(["search"])
    assert check(Answer("", tool_calls=("search",))).ok
    assert not check(Answer("", tool_calls=("search", "rm"))).ok


def test_checks_of_ones_own_and_all_together():
    def polite(text):
        return "please" in text

    check = every(matches(r"\d"), satisfies(polite))
    assert check(Answer("4, please")).ok
    assert check(Answer("4")).reason == "polite failed"
    assert check(Answer("please")).reason == "does not match"


def test_the_usual_shape_is_seen_without_labels():
    whole = usual([f"... #### {n}" for n in range(95)] + ["no idea"] * 5)
    assert whole(Answer("#### 12")).ok
    assert whole(Answer("no idea")).reason == "no final answer"
    assert whole(Answer("#### 1.5")).reason == "not a whole number"
    objects = usual([json.dumps({"n": n}) for n in range(40)])
    assert objects(Answer("sure")).reason == "not JSON"


def test_free_text_has_no_usual_shape():
    prose = usual([f"It depends on the weather in {n}." for n in range(50)])
    assert prose(Answer("Completely different.")).ok
    assert usual(["#### 1"] * 5)(Answer("no number")).ok
