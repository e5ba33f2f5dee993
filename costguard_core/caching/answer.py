"""One stored answer and its versioned bytes. JSON only: whoever can write to the store cannot make us run anything."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from costguard_core.values import Usage

FORMAT = 1
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
        "t": answer.created,
    }
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def from_bytes(data: bytes) -> Answer:
    """The answer in stored bytes.

    Raises:
        Foreign: not ours, damaged, or of another format version.
    """
    try:
        document = json.loads(data)
        if document["v"] != FORMAT:
            raise Foreign(f"format {document['v']!r}")
        usage, cost = document["u"], document["c"]
        if not (cost is None or type(cost) is int):
            raise Foreign("cost is not an integer")
        return Answer(
            payload=document["p"],
            choices=document["n"],
            usage=None if usage is None else Usage(**usage),
            cost=cost,
            model=document["m"],
            created=document["t"],
        )
    except Foreign:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Foreign(type(error).__name__) from error


def _packed(usage: Usage) -> dict[str, Any]:
    return {name: value for name, default in _USAGE_DEFAULTS.items() if (value := getattr(usage, name)) != default}
