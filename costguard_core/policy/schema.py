"""The shape of a policy file: a JSON schema (draft 2020-12), which editors complete from, and what it finds wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from costguard_core.cache.secrets import is_secret
from costguard_core.util.options import meant
from costguard_core.util.toml_document import Problem

if TYPE_CHECKING:
    from jsonschema import ValidationError


@cache
def policy_schema() -> dict[str, Any]:
    """The published schema."""
    schema: dict[str, object] = json.loads(schema_text())
    return schema


def schema_text() -> str:
    """The text of the published schema."""
    return (files("costguard_core.policy") / "costguard.schema.json").read_text(encoding="utf-8")


def shape_problems(values: dict[str, object]) -> Iterator[Problem]:
    """What in ``values`` has another shape than a policy: unknown words, wrong types, values out of range."""
    from jsonschema import Draft202012Validator

    for error in Draft202012Validator(policy_schema()).iter_errors(values):
        yield from _problems(error)


def _problems(error: ValidationError) -> Iterator[Problem]:
    error = _nearest(error)
    path = tuple(error.absolute_path)
    schema: Any = error.schema
    expected: Any = error.validator_value
    given: Any = error.instance
    if error.validator == "not":
        yield Problem(path, f"{path[-1]} is {schema['description']}")
    elif error.validator == "additionalProperties" and isinstance(given, dict):
        valid = list(schema["properties"])
        for word in [key for key in given if key not in valid]:
            known = f"valid words are {', '.join(valid)}"
            yield Problem((*path, word), f"there is no such setting; {meant(word, valid, known)}")
    elif error.validator == "enum":
        guess = meant(given, expected)
        yield Problem(path, f"{given!r} is none of {', '.join(expected)}" + (f"; {guess}" if guess else ""))
    elif error.validator == "required":
        missing = [name for name in expected if name not in given]
        yield Problem(path, f"{' and '.join(missing)} must be given")
    else:
        wanted = schema.get("description")
        shown = json.dumps(given, ensure_ascii=False, default=str)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        if "://" in shown or any(is_secret(str(name)) for name in path):
            shown = "this value"  # which may hold a password
        yield Problem(path, f"{shown} does not fit here{f': {wanted[0].lower()}{wanted[1:]}' if wanted else ''}")


def _nearest(error: ValidationError) -> ValidationError:
    """Of a value that may have several shapes, the error of the shape that was meant: the one of the same type."""
    while error.validator in ("anyOf", "oneOf") and error.context:
        meant = [inner for inner in error.context if inner.validator != "type" or inner.path]
        if not meant:
            return error
        error = max(meant, key=lambda inner: len(inner.path))
    return error
