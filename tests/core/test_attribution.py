"""What callers write into ``attribute(...)`` and what the rest of the house reads."""

from __future__ import annotations

from typing import Any

from costguard_core import Attribution, attribute
from costguard_core.attribution import current_attribution


def test_numbers_become_text_as_they_do_in_metadata() -> None:
    numbered: Any = 42
    with attribute(user=numbered, tenant=numbered):
        assert current_attribution() == Attribution(user="42", tenant="42")
    assert current_attribution({"user_id": 42, "tenant": 42}) == Attribution(user="42", tenant="42")


def test_one_document_is_not_its_letters() -> None:
    with attribute(documents="faq-7"):
        assert current_attribution().documents == ("faq-7",)
    with attribute(documents=["faq-7", "faq-8"]):
        assert current_attribution().documents == ("faq-7", "faq-8")
