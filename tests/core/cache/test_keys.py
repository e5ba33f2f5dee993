"""A key is the same exactly when the answer must be: hypothesis looks for parts that run together."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_process import run_python

from costguard_core import ConfigurationError
from costguard_core.cache import CachePolicy, NotCanonical, Request, canonical, request_digest
from costguard_core.cache.keys import TAG_NAMES, digest, scoped_digest, tags_of, tags_to_invalidate
from costguard_core.types import Attribution

text = st.text(st.characters(codec=None, categories=None), max_size=8)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
data = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=12
)


def _same(a: object, b: object) -> bool:
    """Equality in which true is not 1: what JSON says of them, numbers by value."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return a == b


def _digest(messages: Sequence[object], **parts: object) -> str:
    given_parts: dict[str, object] = {"model": "m", "parameters": {}, "tools": (), "schema": None, **parts}
    return request_digest(messages=messages, **given_parts)  # type: ignore[arg-type]


@given(data, data)
def test_canonical_text_is_equal_exactly_when_the_values_are(a: object, b: object) -> None:
    assert (canonical(a) == canonical(b)) == _same(a, b)


@given(data)
def test_canonical_text_is_ascii_json_of_the_value(value: object) -> None:
    written = canonical(value)
    assert written.isascii()
    assert _same(json.loads(written), value)


@given(st.lists(text, max_size=5), st.lists(text, max_size=5))
def test_no_two_lists_of_parts_run_together(a: list[str], b: list[str]) -> None:
    parts_a, parts_b = [canonical(part) for part in a], [canonical(part) for part in b]
    assert (digest(*parts_a) == digest(*parts_b)) == (a == b)


@given(st.lists(data, min_size=1, max_size=4), st.randoms())
def test_tool_order_does_not_matter(tools: list[object], random: object) -> None:
    shuffled = list(tools)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert _digest(["hi"], tools=tools) == _digest(["hi"], tools=shuffled)


@given(st.lists(text, min_size=2, max_size=4))
def test_message_order_matters(messages: list[str]) -> None:
    turned = messages[::-1]
    assert (_digest(messages) == _digest(turned)) == (messages == turned)


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_temperature_zero_has_one_spelling(zero: float) -> None:
    assert canonical({"temperature": zero}) == '{"temperature":0}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: "a"}, object(), {"a": {1, 2}}, b"bytes", dict])
def test_what_cannot_be_written_exactly_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical(value)


def test_a_refusal_does_not_quote_the_value() -> None:
    class Card:
        def __repr__(self) -> str:
            return "4111 1111 1111 1111"

    with pytest.raises(NotCanonical) as caught:
        canonical([Card()])
    assert "4111" not in str(caught.value)


def test_bottomless_data_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(NotCanonical):
        canonical(loop)


def test_every_part_is_in_the_digest() -> None:
    variants = [
        _digest(["a"]),
        _digest(["b"]),
        _digest(["a"], model="n"),
        _digest(["a"], parameters={"temperature": 1}),
        _digest(["a"], tools=[{"name": "t"}]),
        _digest(["a"], schema={"type": "object"}),
    ]
    assert len(set(variants)) == len(variants)


def readers(who: Attribution, scope: tuple[str, ...]) -> tuple[tuple[str, str | None], ...]:
    return CachePolicy(scope=scope).readers(Request("x", attribution=who))


@given(st.none() | text, st.none() | text)
def test_tenants_never_share(a: str | None, b: str | None) -> None:
    one, other = (scoped_digest("x", readers(Attribution(tenant=name), ("tenant",))) for name in (a, b))
    assert (one == other) == ((a or None) == (b or None))  # an empty name is no name


def test_the_order_of_scope_fields_does_not_matter() -> None:
    who = Attribution(user="u", tenant="t")
    assert readers(who, ("tenant", "user")) == readers(who, ("user", "tenant", "user"))


def test_digests_are_the_same_in_another_process() -> None:
    code = (
        "from costguard_core.cache import request_digest as d; "
        "print(d(model='m', parameters={'b': 1, 'a': {'y': 2.0, 'x': 'é'}}, messages=['hi']))"
    )
    there = run_python(code).stdout.strip()
    assert there == request_digest(model="m", parameters={"a": {"x": "é", "y": 2}, "b": 1}, messages=["hi"])


def test_tags_name_what_can_be_invalidated() -> None:
    who = Attribution(user="u", endpoint="/e", documents=("d1", "d2"))
    assert set(tags_of(who, model="m")) == {"model=m", "user=u", "endpoint=/e", "document=d1", "document=d2"}
    # Named in the singular, as `invalidate(document=...)` names it, it is a free tag.
    alone = Attribution(documents=("d1",), tags=(("document", "d2"), ("plan", "free")))
    assert tags_of(alone) == ("document=d1", "document=d2")


def test_a_key_shows_nothing_of_the_request() -> None:
    policy = CachePolicy(scope=("tenant", "user"))
    key = policy.key(Request(digest=_digest(["my secret question"]), attribution=Attribution(session="s-77")))
    assert "secret" not in repr(key)
    assert "s-77" not in repr(key)


def test_what_entries_are_tagged_with_can_be_invalidated_and_nothing_else():
    who = Attribution(user="u", tenant="t", endpoint="/e", template="p", documents=("d",))
    tags = tags_of(who, model="m")
    assert {tag.partition("=")[0] for tag in tags} == set(TAG_NAMES)
    assert [tags_to_invalidate({name: value}) for name, _, value in (tag.partition("=") for tag in tags)] == [
        [tag] for tag in tags
    ]
    for name, hint in (("documents", "document="), ("usr", "user="), ("colour", "use model, ")):
        with pytest.raises(ConfigurationError, match=hint):
            tags_to_invalidate({name: "x"})
