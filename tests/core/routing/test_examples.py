"""The scorer by example requests per topic."""

from __future__ import annotations

import pytest

from costguard_core.errors import ConfigurationError
from costguard_core.routing import Request, examples


def test_topics_show_their_scores_and_may_be_none():
    topics = examples({"faq": ["When do you open on Sundays?"], "summary": ["Summarise this long report"]})
    score = topics(Request("Do you open on Sundays?"))
    assert (score.tier, score.reasons[0].name, score.reasons[1].name) == ("faq", "like faq", "not summary")
    assert topics(Request("Write a sonnet about rust")) is None
    assert topics.similarities("Summarise the report")["summary"] > topics.similarities("Summarise the report")["faq"]
    with pytest.raises(ConfigurationError):
        examples({"faq": []})


def test_topics_with_an_embedding_model():
    topics = examples({"sum": ["add"]}, embed=lambda text: [float("add" in text), float("sing" in text), 0.1])
    assert topics(Request("please add")).tier == "sum"
    assert topics(Request("please sing")) is None
