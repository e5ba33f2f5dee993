"""Stored answers: what an adapter hands in to be stored, what a lookup finds, and the versioned bytes between them.

The bytes are JSON, so that whoever can write to a store cannot make a reader run anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from functools import lru_cache
from operator import methodcaller
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

from costguard_core.types import NANOS_PER_DOLLAR, Outcome, Usage, frozen_for_checkers, usd

M = TypeVar("M")

FORMAT = 1
_put = object.__setattr__
_NAMES = frozenset("vpnucmot")
_USAGE_DEFAULTS = {f.name: f.default for f in fields(Usage)}
# Choices: at most 8 MB of stored answers, and what is parsed of them.
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 256, 32_000  # answers; bytes of one


@frozen_for_checkers
@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to be stored, with the facts that policy and reports need.

    Attributes:
        payload: JSON data that only the adapter understands.
        choices: how many answers it holds (the request's ``n``).
        finish: the provider's finish reasons.
        refused: the model declined to answer.
        empty: nothing was said.
        usage: what the provider call consumed, ``None`` when unknown.
        cost: nano-dollars that it cost and that a hit saves, ``None`` when unknown.
        model, provider: who answered.
        created: unix seconds.
    """

    payload: Any
    choices: int = 1
    finish: tuple[str, ...] = ()
    refused: bool = False
    empty: bool = False
    usage: Usage | None = None
    cost: int | None = None
    model: str | None = None
    provider: str | None = None
    created: float = 0.0


class CachedAnswer(Protocol):
    """An answer that some cache has found, so that no provider has to be paid for it."""

    @property
    def answer(self) -> Answer:
        """The answer as it was stored."""

    @property
    def payload(self) -> Any:
        """The answer's data; the caller may keep it and change it."""

    @property
    def cost(self) -> int | None:
        """Nano-dollars that the original call cost; ``None`` when unknown."""

    @property
    def outcome(self) -> Outcome:
        """How it was found: exact, coalesced or semantic."""

    @property
    def saved(self) -> int:
        """Nano-dollars that the hit saved; 0 when unknown."""

    @property
    def saved_usd(self) -> Decimal:
        """:attr:`saved` in dollars."""

    @property
    def marks(self) -> Mapping[str, Any]:
        """What the response says of the hit beyond its outcome and saving, such as the similarity."""


def hit_mark(cached: CachedAnswer) -> dict[str, Any]:
    """What the response of a hit says of it: where it came from, what it saved in dollars, and more of the cache's."""
    cost = net_saving(cached.cost, cached.marks) if cached.marks else cached.cost
    return {"cache": cached.outcome.value, "saved_usd": None if cost is None else _written_usd(cost), **cached.marks}


@lru_cache(_MOST_REMEMBERED)
def _written_usd(nanos: int) -> str:
    return format((Decimal(nanos) / NANOS_PER_DOLLAR).normalize(), "f")


def saved_in(mark: object) -> int | None:
    """Nano-dollars that a mark of :func:`hit_mark` says were saved; ``None``: it does not say."""
    said = mark.get("saved_usd") if isinstance(mark, Mapping) else None
    return int(Decimal(said) * NANOS_PER_DOLLAR) if said else None


VERIFICATION = "verification_usd"  # in the marks of a hit: dollars that asking for it cost, which it did not save


def net_saving(saved: int | None, marks: Mapping[str, object]) -> int | None:
    """Nano-dollars that a hit saved, less what its marks say that verification cost."""
    owed = marks.get(VERIFICATION)
    return saved if owed is None else (saved or 0) - int(Decimal(str(owed)) * NANOS_PER_DOLLAR)


class ExactHit(NamedTuple):
    """A :class:`CachedAnswer` from an exact cache.

    Attributes:
        document: the stored JSON as :func:`document_of` checked it; ``answer`` is made of it when it is asked for.
        payload, cost: what it says.
        outcome: coalesced, if it came from an identical request that was under way.
    """

    document: Mapping[str, Any]
    payload: Any
    cost: int | None
    outcome: Outcome = Outcome.EXACT
    marks: Mapping[str, Any] = MappingProxyType({})

    @property
    def answer(self) -> Answer:
        document = self.document
        usage = document["u"]
        return Answer(
            payload=document["p"],
            choices=document["n"],
            usage=None if usage is None else Usage.from_json(usage),
            cost=document["c"],
            model=document["m"],
            provider=document["o"],
            created=document["t"],
        )

    @property
    def saved(self) -> int:
        return self.cost or 0

    @property
    def saved_usd(self) -> Decimal:
        return usd(self.cost or 0)


class UnreadableAnswer(ValueError):
    """Stored bytes that this release did not write or cannot read: a miss."""


def to_bytes(answer: Answer) -> bytes:
    """The stored form. Facts that only decide about storing (finish, refused, empty) are not kept.

    Raises:
        ValueError, TypeError: the payload is not JSON.
    """
    document = {
        "v": FORMAT,
        "p": answer.payload,
        "n": answer.choices,
        "u": None if answer.usage is None else answer.usage.to_json(),
        "c": answer.cost,
        "m": answer.model,
        "o": answer.provider,
        "t": answer.created,
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def from_bytes(data: bytes) -> Answer:
    """The answer in stored bytes. Raises UnreadableAnswer, see :func:`document_of`."""
    document = document_of(data)
    return ExactHit(document, document["p"], document["c"]).answer


def document_of(data: bytes) -> Mapping[str, Any]:
    """Stored bytes as checked JSON, the caller's own; :attr:`ExactHit.answer` makes an :class:`Answer` of it, which a
    hit may not need.

    Raises:
        UnreadableAnswer: not ours, damaged, or of another format version.
    """
    if len(data) > _LONGEST_REMEMBERED:
        return _checked(data)
    containers, links = _parsed(data)
    copies = list(map(_COPIED, containers))
    for outer, key, inner in links:
        copies[outer][key] = copies[inner]
    found: Mapping[str, Any] = copies[0]
    return found


_COPIED: Callable[[Any], Any] = methodcaller("copy")


@lru_cache(_MOST_REMEMBERED)
def _parsed(data: bytes) -> tuple[Sequence[Any], Sequence[tuple[int, Any, int]]]:
    """The lists and dictionaries in checked bytes, the whole first, and which is in which: number, place in it, number.

    Answers are asked for again and again: the same bytes are parsed once. Of each hit's copy only the containers are
    new, as texts and numbers cannot be changed; that takes less than half of the time of reading any written form.
    """
    containers: list[Any] = [_checked(data)]
    links = []
    for outer, container in enumerate(containers):  # which grows meanwhile
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(value, (dict, list)):
                links.append((outer, key, len(containers)))
                containers.append(value)
    return containers, links


def _checked(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
        if document["v"] != FORMAT or not document.keys() >= _NAMES:
            raise UnreadableAnswer("another format")
        cost, usage = document["c"], document["u"]
        if not (cost is None or type(cost) is int) or not (usage is None or _USAGE_DEFAULTS.keys() >= usage.keys()):
            raise UnreadableAnswer("cost or usage")
    except UnreadableAnswer:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnreadableAnswer(type(error).__name__) from error
    found: dict[str, Any] = document
    return found


def built(kind: type[M], fields: dict[str, object], *, extra: dict[str, object] | None = None) -> M:
    """``kind.model_construct(**fields)`` of a framework's pydantic class, every field given, in a third of the time.

    Nothing is validated, which takes longer than all the rest of a hit. ``extra`` is an empty dictionary where the
    class allows fields that it does not name.
    """
    made = kind.__new__(kind)
    _put(made, "__dict__", fields)
    _put(made, "__pydantic_fields_set__", set(fields))
    _put(made, "__pydantic_extra__", extra)
    _put(made, "__pydantic_private__", None)
    return made
