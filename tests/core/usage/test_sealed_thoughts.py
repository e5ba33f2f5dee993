"""Encrypted thoughts in a prompt: https://ai.google.dev/gemini-api/docs/thought-signatures and recorded bills."""

from __future__ import annotations

from costguard_core.usage.overhead import described_json, sealed_letters
from costguard_core.usage.token_counter import ReadPrompt, TokenCounter

COUNTER = TokenCounter()
TURN = [("human", "What?"), ("ai", ""), ("tool", "42")]


def bound(model: str, *later: tuple[str, str], provider: str = "google_genai") -> int:
    prompt = ReadPrompt([*TURN, *later], [], sealed=((1, 5_000),))
    return prompt.counted(COUNTER, model, provider, None, 0).bound


def test_thoughts_of_this_turn_are_billed_and_those_before_the_users_last_message_are_not() -> None:
    assert bound("gemini-3-flash-preview") >= 5_000 * 0.206
    assert bound("gemini-3-flash-preview", ("human", "And then?")) < 100


def test_thoughts_of_gemini_2_5_and_on_vertex_are_held_in_their_turn() -> None:
    """Recorded: 0.18 token per letter of some answers of Gemini 2.5, nothing for most; 0.185 on Vertex AI."""
    for model, seller in (("gemini-2.5-flash", "google_genai"), ("gemini-3-flash-preview", "google_vertexai")):
        assert bound(model, provider=seller) >= 5_000 * 0.18
        assert bound(model, ("human", "And then?"), provider=seller) < 100


def test_gemini_3_5_bills_thoughts_of_earlier_turns_too() -> None:
    """Recorded: 165 tokens for 792 letters before another question, and 70 for 500."""
    assert bound("gemini-3.5-flash", ("human", "And then?")) >= 5_000 * 165 / 792


def test_openais_are_held_wherever_they_stand() -> None:
    assert bound("gpt-5", ("human", "And then?"), provider="openai") >= 5_000 * 0.141


def test_a_schema_that_refers_to_itself_is_written_out_for_gemini() -> None:
    """Recorded: 776 tokens for such a tool and 45 of text, of which 376 are its JSON."""
    node = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}}
    deep = {"$defs": {"Node": node}, "properties": {"tree": {"$ref": "#/$defs/Node"}}}
    tool = {"name": "record", "parameters_json_schema": deep}
    plain = described_json({"tools": [tool]}, "openai", model="some-model")
    written = described_json({"tools": [tool]}, "google_genai", model="gemini-2.5-flash")
    assert plain is not None
    assert written is not None
    assert written.count('"children"') == 8 > plain.count('"children"') == 1


def test_a_schema_cannot_be_made_to_explode() -> None:
    many = {f"N{n}": {"anyOf": [{"$ref": f"#/$defs/N{(n + k) % 9}"} for k in range(9)]} for n in range(9)}
    tool = {"name": "f", "parameters_json_schema": {"$defs": many, "properties": {"a": {"$ref": "#/$defs/N0"}}}}
    written = described_json({"tools": [tool]}, "google_genai", model="gemini-2.5-flash")
    assert written is not None
    assert len(written) < 500_000


def test_classes_that_refer_to_each_other_in_a_ring_are_written_out_however_deep_that_is() -> None:
    ring = {
        f"C{n}": {"properties": {"next": {"anyOf": [{"$ref": f"#/$defs/C{(n + 1) % 30}"}, {"type": "null"}]}}}
        for n in range(30)
    }
    tool = {"name": "f", "parameters_json_schema": {"$defs": ring, "properties": {"a": {"$ref": "#/$defs/C0"}}}}
    written = described_json({"tools": [tool]}, "google_genai", model="gemini-2.5-flash")
    assert written is not None
    assert written.count('"next"') == 8 * 30
    assert '"a": {"properties": {"next": {"anyOf": [{"properties": ' in written


def test_deep_arguments_of_a_call_are_searched_for_thoughts() -> None:
    arguments: object = {"signature": "x" * 7}
    for _ in range(2_000):
        arguments = [{"inner": arguments}]
    assert sealed_letters(arguments) == 7


def test_a_schema_on_bedrock_is_billed_for_claude_alone() -> None:
    schema = {"outputConfig": {"textFormat": {"type": "json_schema"}}}
    assert described_json(schema, "amazon_bedrock", model="qwen.qwen3-32b-v1:0") is None
    assert described_json(schema, "amazon_bedrock", model="us.anthropic.claude-sonnet-4-6") is not None
