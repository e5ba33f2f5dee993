"""What is a question, and what is a prompt around one."""

import pytest

from costguard_core.cache.semantic.query import is_more_than_a_question, split

PROMPTS = [
    "Q: 2+2?\nA: 4\nQ: What is the boiling point of ethanol?\nA:",
    "Use the context to answer.\nContext: The lab opens with the blue badge.\nCan she enter the lab?",
    "Context: we take back shoes. Question: can I return worn shoes?",
    "What does it print?\nfor i in x:\n  a()\n  b()",
    "Translate to French: I am coming",
    "Please summarise this: the cat slept",
    "Human: hi",
    " ".join(["word"] * 65),
]
QUESTIONS = [
    "How do I reset my password?",
    "How do I translate a document?\n",
    "When does it open: at 9 or at 10?",
    "which plan is best for a team: basic or pro",
    "what is vitamin a good for",
]


@pytest.mark.parametrize("text", PROMPTS)
def test_a_prompt_around_a_question_is_not_a_question(text):
    assert is_more_than_a_question(text)


@pytest.mark.parametrize("text", QUESTIONS)
def test_a_question_is(text):
    assert not is_more_than_a_question(text)


def test_a_question_that_a_template_was_filled_with_is_found_after_its_blanks_were_cleaned_away():
    asked = "How do I  reset\tmy (old) password? "
    cleaned = split("Context: How?\nQuery: How do I reset my (old) password?\nAnswer:", asked)
    assert cleaned.question == "How do I reset my (old) password?"
    assert cleaned.rest.startswith("Context: How?\nQuery: ")
    assert split("Query: How do I reset your password?", asked) is None
    assert split("Query: ", " ") is None
