"""Trimming histories, choosing relevant sentences, cleaning text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from costguard_core.prompts.compression import clean, relevant, trimmed
from costguard_core.routing import Message


def conversation(turns: int) -> list[Message]:
    made = [Message("system", "s" * 40)]
    for turn in range(turns):
        made += [Message("user", f"{turn:04}" * 10), Message("assistant", ""), Message("tool", "t" * 40)]
    return made


def test_history_is_trimmed_in_steps_not_every_turn():
    fronts, history, turns = [], [], 0
    for message in conversation(60):
        history.append(message)
        history = list(trimmed(history, max_tokens=200).value)
        turns += message.role == "user"
        fronts.append(history[1:2])
    changes = sum(one != two for one, two in zip(fronts[2:], fronts[3:], strict=False))
    assert changes < turns / 4


def test_trimming_a_whole_history_every_turn_cuts_at_the_same_places():
    fronts = [trimmed(conversation(turns), max_tokens=200).value[1] for turns in range(1, 80)]
    changes = sum(one != two for one, two in zip(fronts, fronts[1:], strict=False))
    assert 5 < changes < 20
    assert all(trimmed(conversation(turns), max_tokens=200).after <= 200 for turns in range(1, 80))


def test_trimming_keeps_the_system_prompt_the_last_turn_and_whole_turns():
    result = trimmed(conversation(20), max_tokens=200)
    assert [message.role for message in result.value[:2]] == ["system", "user"]
    assert result.value[-3:] == tuple(conversation(20)[-3:])
    assert result.after <= 200
    assert result.saved == result.before - result.after > 0
    assert len(result.dropped) + len(result.value) == len(conversation(20))
    huge = [Message("system", "s"), Message("user", "u" * 10_000)]
    assert trimmed(huge, max_tokens=10).value == tuple(huge)
    assert trimmed(huge, max_tokens=10**6).saved == 0


TEXT = "The fox lives in a den. Bread costs two euros. The moon is far away. A fox eats mice. Rain falls in spring."


def test_only_relevant_sentences_stay_in_their_order():
    result = relevant(TEXT, "What does the fox eat?", keep=0.5)
    assert result.value == "The fox lives in a den. A fox eats mice."
    assert "Bread costs two euros." in result.dropped
    assert result.after <= 0.5 * result.before


def test_nothing_is_dropped_when_nothing_matches():
    assert relevant(TEXT, "Quantum?").value == TEXT
    assert relevant("", "x").value == ""


def test_cleaning_leaves_code_and_meaning_alone():
    text = "Hello   world  \n\n\n\n\nBye\u200b\n```\nx  =  1\n\n\n\n```\n    indented  here"
    result = clean(text)
    assert result.value == "Hello world\n\nBye\n```\nx  =  1\n\n\n\n```\n    indented here"
    assert result.dropped
    assert clean("already clean").dropped == ()


@given(st.text(max_size=200))
def test_cleaning_twice_is_cleaning_once(text):
    assert clean(clean(text).value).value == clean(text).value
