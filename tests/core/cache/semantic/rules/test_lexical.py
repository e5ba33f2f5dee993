"""What changes an answer must veto a hit; what is only another wording must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.cache.semantic.rules.lexical import are_opposites, veto
from costguard_core.cache.semantic.rules.phrase import phrase, same_wording

DIFFERENT = [
    ("refund for order 1182", "refund for order 1183", "numbers"),
    ("wait two days", "wait three days", "numbers"),
    ("twenty five people", "26 people", "numbers"),
    ("revenue in Q1 2024", "revenue in Q2 2024", "numbers"),
    ("1,000 dollars", "10,000 dollars", "numbers"),
    ("the second door on the left", "the third door on the left", "numbers"),
    ("is it open on sundays", "is it not open on sundays", "negation"),
    ("why can I find my order", "why can't I find my order", "negation"),
    ("pizza with cheese", "pizza without cheese", "negation"),
    ("enable 2FA", "disable 2FA", "opposites"),
    ("is aspirin safe", "is aspirin unsafe", "opposites"),
    ("the cheapest flight", "the most expensive flight", "opposites"),
    ("upload a file", "download a file", "opposites"),
    ("a painful operation", "a painless operation", "opposites"),
    ("what is open on Monday", "what is open on Friday", "day"),
    ("convert to euros", "convert to yen", "currency"),
    ("who is Ann Miller", "who is Bob Miller", "names"),
    ("100 USD to EUR", "100 EUR to USD", "order"),
    ("does ann owe bob money", "does bob owe ann money", "order"),
    ("is python faster than java", "is java faster than python", "order"),
    ("flights from rome to oslo", "I want a flight from oslo to rome", "order"),
    ("people in new york", "people in san francisco", "something else"),
    ("refund for my sister", "refund for my lawyer", "something else"),
    ("reset my password", "reset your password", "whose"),
    ("is 5 mg too much", "is 5 ml too much", "units"),
    ("convert 5 pounds to kilos", "convert 5 ounces to kilos", "units"),
    ("a $20 gift", "a €20 gift", "currency"),
    ("when leaves bus 12a", "when leaves bus 12b", "codes"),
    ("what began world war i", "what began world war ii", "numbers"),
    ("about henry vii", "about henry viii", "numbers"),
    ("what is new in version 2.1", "what is new in version 2.10", "numbers"),
    ("a hundred dollars", "a thousand dollars", "numbers"),
    ("what to wear at -5 degrees", "what to wear at 5 degrees", "numbers"),
    ("refundable tickets", "non-refundable tickets", "negation"),
    ("plans including roaming", "plans excluding roaming", "opposites"),
    ("shops open until 5", "shops open from 5", "opposites"),
    ("opt in to marketing", "opt out of marketing", "opposites"),
    ("is it open on christmas", "is it open on easter", "holiday"),
    ("who follows paul here", "who does paul follow here", "order"),
    ("stop syncing my phone", "don't stop syncing my phone", "negation"),
    ("how do I prevent updates", "how do I not prevent updates", "negation"),
    ("am I able to fly", "am I unable to fly", "negation"),
    ("I can understand French", "I can't understand French", "negation"),
    ("can I use salt and not pepper", "can I use pepper instead of salt", "negation"),
    ("move it into my savings", "move it from my savings", "opposites"),
    ("a table for one person", "a table for six people", "numbers"),
    ("where is my W2 form", "where is my W4 form", "numbers"),
]

SAME = [
    ("How do I reset my password?", "how can I reset my password"),
    ("What's the capital of France?", "what is the capital of france"),
    ("a table for 2 people", "a table for two people"),
    ("one ticket to Rome", "a ticket to Rome"),
    ("$1,000 limit", "1000 $ limit"),
    ("give me a second to think", "give me a moment to think"),
    ("turn the light on", "turn on the light"),
    ("what is my balance", "my balance is what"),
    ("I can't find my card", "help me find my card"),
    ("why don't you tell me a joke", "tell me a joke"),
    ("that is not right", "that is wrong"),
    ("yearly fee", "annual fee"),
    ("how many usd is that", "how many dollars is that"),
    ("the U.S. dollar", "the US dollar"),
    ("I like that one", "I like that"),
    ("move money from one account to another", "move money between accounts"),
    ("I want points but don't know how", "I want points"),
    ("No, that isn't it", "That is not it"),
    ("how do I get to set a timer", "how do I get to use a timer"),
    ("who did the programming", "who programmed this"),
    ("a room until friday", "a room from monday until friday"),
    ("please double check my card", "please check my card"),
    ("5 cm to inch", "5 centimeters to inches"),
    ("the price of one ticket", "the price of tickets"),
    ("roll one six sided die", "roll a six sided die"),
    ("send ten dollars to my capital one account", "send ten dollars to capital one"),
    ("stop syncing my phone", "don't sync my phone"),
    ("keep my score from dropping", "make sure my score doesn't drop"),
    ("no, that is wrong", "that is wrong"),
    ("that is not right, no", "no, that is not right"),
    ("it is not true, it is false", "that is actually false"),
    ("can I use oil and not butter", "does oil work instead of butter"),
    ("that won't cost me extra, will it", "will that cost me extra"),
    ("I didn't understand, can you say it again", "can you say it again"),
    ("I am unable to use my card", "I can't use my card"),
    ("are you a bot or a person", "are you a person or a bot"),
    ("Ann is my name", "my name is Ann"),
    ("when is our next day off", "when is my next day off"),
    ("I added milk and want bread removed", "add milk and remove bread"),
    ("how do I insure that my phone still works", "how can I be sure my phone works"),
    ("where do I get w2s", "where do I get a w2"),
]


@pytest.mark.parametrize(("a", "b", "kind"), DIFFERENT)
def test_a_difference_that_changes_the_answer_is_named(a, b, kind):
    assert kind in (veto(a, b) or "nothing")
    assert veto(b, a) is not None


@pytest.mark.parametrize(("a", "b"), SAME)
def test_another_wording_is_no_objection(a, b):
    assert veto(a, b) is None
    assert veto(b, a) is None


@given(st.text(max_size=200))
def test_a_text_never_objects_to_itself_and_nothing_raises(text):
    assert veto(text, text) is None


@given(st.text(max_size=60), st.text(max_size=60))
def test_objections_do_not_depend_on_who_was_first(a, b):
    assert (veto(a, b) is None) == (veto(b, a) is None)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_numbers_object_exactly_when_they_differ(a, b):
    assert (veto(f"the answer is {a}", f"the answer is {b}") is None) == (a == b)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("twenty five", [25]),
        ("two hundred and six", [206]),
        ("1,500.50 and 3", [3, 1500.5]),
        ("five million", [5_000_000]),
        ("5k", [5000]),
        ("the third one", [3]),
        ("no one knows", []),
        ("at first glance", []),
        ("step ❶ and ²", [2]),
        ("minus 5 degrees", [-5]),
        ("10 minus 5", [5, 10]),
    ],
)
def test_numbers_are_read(text, numbers):
    assert [float(number) for number in phrase(text).numbers] == numbers


def test_opposites_by_prefix():
    assert are_opposites("lock", "unlock")
    assert are_opposites("import", "export")
    assert are_opposites("overpaid", "underpaid")
    assert not are_opposites("until", "til")
    assert not are_opposites("card", "discard"[3:])


def test_the_same_wording_differs_in_space_and_closing_marks_only():
    assert same_wording("Where  is it?", "Where is it")
    assert not same_wording("Where is it?", "Where was it?")
