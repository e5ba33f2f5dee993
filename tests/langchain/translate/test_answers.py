"""Answers as caches store them."""

from __future__ import annotations

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration
from pydantic import BaseModel

from langchain_costguard.translate.answers import answer_of


class City(BaseModel):
    name: str


def test_what_was_parsed_is_kept_where_the_text_is_nested_too_deeply_to_be_read() -> None:
    message = AIMessage("[" * 100_000, additional_kwargs={"parsed": City(name="Vienna")})
    [stored] = answer_of([ChatGeneration(message=message)]).payload
    assert stored["m"]["a"] == {"parsed": {"name": "Vienna"}}
