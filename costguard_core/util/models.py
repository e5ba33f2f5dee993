"""Objects of frameworks' pydantic classes, made of fields that were read from a valid one."""

from __future__ import annotations

from typing import TypeVar

M = TypeVar("M")

_put = object.__setattr__


def built(kind: type[M], fields: dict[str, object], *, extra: dict[str, object] | None = None) -> M:
    """``kind.model_construct(**fields)``, with every field given, in a third of the time.

    Nothing is validated, which takes longer than all the rest of a hit. ``extra`` is an empty dictionary where the
    class allows fields that it does not name.
    """
    made = kind.__new__(kind)
    _put(made, "__dict__", fields)
    _put(made, "__pydantic_fields_set__", set(fields))
    _put(made, "__pydantic_extra__", extra)
    _put(made, "__pydantic_private__", None)
    return made
