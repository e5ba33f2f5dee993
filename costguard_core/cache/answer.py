"""One stored answer and its versioned bytes. JSON only: whoever can write to the store cannot make us run anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from costguard_core.types import Usage

FORMAT = 1
_NAMES = frozenset("vpnucmot")
_USAGE_DEFAULTS = {f.name: f.default for f in fields(Usage)}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as its adapter wrote it, with the facts that policy and reports need.

    ``payload`` is JSON data that only the adapter understands. ``finish`` holds the provider's finish reasons.
    ``cost`` is nano-dollars, ``None`` when unknown: it is what a hit saves. ``created`` is unix seconds.
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


class Foreign(ValueError):
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
        "u": None if answer.usage is None else _packed(answer.usage),
        "c": answer.cost,
        "m": answer.model,
        "o": answer.provider,
        "t": answer.created,
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def from_bytes(data: bytes) -> Answer:
    """The answer in stored bytes. Raises Foreign, see :func:`document_of`."""
    return answer_in(document_of(data))


def document_of(data: bytes) -> Mapping[str, Any]:
    """Stored bytes as checked JSON; :func:`answer_in` makes an :class:`Answer` of it, which a hit may not need.

    Raises:
        Foreign: not ours, damaged, or of another format version.
    """
    try:
        document = json.loads(data)
        if document["v"] != FORMAT or not document.keys() >= _NAMES:
            raise Foreign("another format")
        cost, usage = document["c"], document["u"]
        if not (cost is None or type(cost) is int) or not (usage is None or _USAGE_DEFAULTS.keys() >= usage.keys()):
            raise Foreign("cost or usage")
    except Foreign:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Foreign(type(error).__name__) from error
    found: Mapping[str, Any] = document
    return found


def answer_in(document: Mapping[str, Any]) -> Answer:
    """The answer in a document that :func:`document_of` has checked."""
    usage = document["u"]
    return Answer(
        payload=document["p"],
        choices=document["n"],
        usage=None if usage is None else Usage(**usage),
        cost=document["c"],
        model=document["m"],
        provider=document["o"],
        created=document["t"],
    )


def _packed(usage: Usage) -> dict[str, Any]:
    return {name: value for name, default in _USAGE_DEFAULTS.items() if (value := getattr(usage, name)) != default}
