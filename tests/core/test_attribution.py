"""What callers write into ``attribute(...)`` and what the rest of the package reads."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard_core import Attribution, ConfigurationError, CostGuard, attribute
from costguard_core.attribution import KNOWN_NAMES, current_attribution
from costguard_core.ledger.columns import DIMENSIONS
from costguard_core.types import ATTRIBUTE_NAMES


def current_user() -> str | None:
    return current_attribution().user


def test_numbers_become_text_as_they_do_in_metadata() -> None:
    numbered: Any = 42
    with attribute(user=numbered, tenant=numbered):
        assert current_attribution() == Attribution(user="42", tenant="42")
    assert current_attribution({"user_id": 42, "tenant": 42}) == Attribution(user="42", tenant="42")
    assert Attribution(user=numbered).user == "42"


def test_one_document_is_not_its_letters() -> None:
    with attribute(documents="faq-7"):
        assert current_attribution().documents == ("faq-7",)
    with attribute(documents=["faq-7", "faq-8"]):
        assert current_attribution().documents == ("faq-7", "faq-8")


@pytest.mark.parametrize("name", ["user", "tenant", "session", "endpoint", "feature", "template", "plan"])
def test_an_empty_name_is_no_name_however_it_is_given(name: str) -> None:
    nobody = Attribution()
    with attribute(**{name: ""}):
        assert current_attribution() == nobody
    assert current_attribution({name: ""}, tags=("plan",)) == nobody
    assert Attribution(user="") == nobody
    with attribute(**{name: "known"}), attribute(**{name: ""}):
        assert current_attribution().value(name) == "known"
        assert current_attribution({name: ""}, tags=("plan",)).value(name) == "known"


def test_long_values_are_shortened_and_stay_different() -> None:
    one, other = "x" * 300, "x" * 299 + "y"
    with attribute(user=one, team=one):
        first = current_attribution()
    with attribute(user=other, team=other):
        second = current_attribution()
    for name in ("user", "team"):
        shown = first.value(name)
        assert shown is not None
        assert len(shown) == 200
        assert shown != second.value(name)
    assert first == current_attribution({"user_id": one, "team": one}, tags=["team"])


def test_any_other_name_is_a_tag() -> None:
    with attribute(user="u1", plan="free", team="search"), attribute(plan="paid", level=3):
        found = current_attribution()
    assert found == Attribution(user="u1", tags=(("level", "3"), ("plan", "paid"), ("team", "search")))
    assert (found.value("plan"), found.value("user"), found.value("region")) == ("paid", "u1", None)


def test_of_metadata_only_declared_names_are_tags() -> None:
    metadata = {"user_id": "u1", "plan": "free", "langgraph_node": "agent"}
    assert current_attribution(metadata) == Attribution(user="u1")
    assert current_attribution(metadata, tags=["plan"]) == Attribution(user="u1", tags=(("plan", "free"),))


def test_names_that_frameworks_use_mean_the_same_in_attribute() -> None:
    with attribute(user_id="u1", thread_id="s1"):
        assert current_attribution() == Attribution(user="u1", session="s1")


@pytest.mark.parametrize(
    ("name", "answer"),
    [("usr", "'user'"), ("tennant", "'tenant'"), ("users", "'user'"), ("model", "means"), ("a b", "letters")],
)
def test_names_that_cannot_be_tags(name: str, answer: str) -> None:
    with pytest.raises(ConfigurationError, match=answer), attribute(**{name: "x"}):
        pass


def test_a_call_has_at_most_sixteen_tags() -> None:
    with attribute(**{f"tag{number}": "x" for number in range(16)}):
        assert len(current_attribution().tags) == 16
        with pytest.raises(ConfigurationError, match="at most 16"), attribute(more="x"):
            pass


def test_no_call_fails_because_of_the_tags_in_its_metadata(caplog: pytest.LogCaptureFixture) -> None:
    metadata = {f"said{number}": "y" for number in range(10)}
    with attribute(**{f"block{number}": "x" for number in range(9)}, said3="x"):
        for _ in range(2):
            found = dict(current_attribution(metadata, {*metadata, "block8"}).tags)
    assert len(found) == 16
    assert found.items() >= {**metadata, "block8": "x"}.items()  # by which budgets count
    assert [record.getMessage() for record in caplog.records] == [
        "a call has at most 16 tags: block5, block6, block7 are left out"
    ]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_a_value_without_a_text_is_called_by_its_class() -> None:
    found = current_attribution({"plan": Unprintable(), "user_id": Unprintable()}, {"plan"})
    assert (found.user, dict(found.tags)) == ("<Unprintable>", {"plan": "<Unprintable>"})


def replies(user: str) -> Iterator[str | None]:
    with attribute(user=user):
        yield current_user()
        yield current_user()


async def async_replies(user: str) -> AsyncIterator[str | None]:
    with attribute(user=user):
        yield current_user()
        yield current_user()


def test_a_generator_that_other_threads_read_ends_its_block_everywhere() -> None:
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        generator = replies("u1")
        assert one.submit(next, generator).result() == "u1"
        other.submit(next, generator).result()
        assert list(generator) == []
        assert one.submit(current_user).result() is None
        assert other.submit(current_user).result() is None


def test_a_generator_that_is_dropped_ends_its_block() -> None:
    with ThreadPoolExecutor(1) as reader:
        generator = replies("u1")
        reader.submit(next, generator).result()
        del generator
        gc.collect()
        assert reader.submit(current_user).result() is None


def test_a_generator_whose_steps_run_in_copies_of_a_context_does_not_crash() -> None:
    generator = replies("u1")  # as Starlette reads synchronous generators
    assert copy_context().run(next, generator) == "u1"
    copy_context().run(next, generator)
    assert copy_context().run(list, generator) == []
    assert current_user() is None


async def test_an_async_generator_that_is_closed_by_another_task_ends_its_block() -> None:
    generator = async_replies("u1")
    assert await anext(generator) == "u1"
    await asyncio.create_task(generator.aclose())  # type: ignore[attr-defined]
    assert current_user() is None


def test_blocks_that_end_in_another_order_end_nevertheless() -> None:
    first, second = replies("u1"), replies("u2")
    next(first)
    next(second)
    assert list(first)[1:] == []
    assert current_user() == "u2"
    assert list(second)[1:] == []
    assert current_user() is None


async def test_what_was_started_inside_a_block_keeps_its_attribution() -> None:
    go = asyncio.Event()

    async def later() -> str | None:
        await go.wait()
        return current_user()

    with attribute(user="u1"):
        task = asyncio.create_task(later())
    go.set()
    assert await task == "u1"


def test_no_tag_is_called_as_a_dimension_of_reports() -> None:
    for name in {*DIMENSIONS, "day"} - set(ATTRIBUTE_NAMES):
        with pytest.raises(ConfigurationError, match="cannot be a tag"), attribute(**{name: "x"}):
            pass


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (("usr",), "did you mean 'user'"),
        (("cost",), "cannot be a tag"),
        ((3,), "are names"),
        ([f"t{n}" for n in range(17)], "tags= declares 17"),
    ],
)
def test_declarations_that_cannot_be_meant_are_named(tags: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        CostGuard(tags=tags)


def test_names_that_are_taken_anyway_may_be_declared() -> None:
    assert CostGuard(tags="plan").tags == {"plan"}
    assert CostGuard(["$1/day per team, user"], tags=("user", "plan", "plan")).tags == {"plan", "team"}


_names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=9, max_size=12).filter(
    lambda name: name[0] != "_" and name not in KNOWN_NAMES
)
_values = st.one_of(st.text(max_size=220), st.integers(), st.booleans(), st.none())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_names, _values, max_size=20), st.sets(_names, max_size=4), st.data())
def test_only_declared_names_are_taken_from_metadata(
    metadata: dict[str, object], others: set[str], data: st.DataObject
) -> None:
    declared = data.draw(st.sets(st.sampled_from(sorted(metadata)), max_size=8)) if metadata else set[str]()
    declared |= others
    found = dict(current_attribution(metadata, declared).tags)
    assert found.keys() == {name for name in declared if metadata.get(name) not in (None, "")}
    assert all(0 < len(value) <= 200 for value in found.values())
    assert all(found[name] == str(metadata[name]) for name in found if len(str(metadata[name])) <= 200)
