"""The part of JSON Schema that structured output uses, checked without a dependency.

Unknown keywords are ignored, as the specification says. ``format`` is not checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

MAX_DEPTH = 60

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
_BOUNDS: Mapping[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("number", lambda value, bound: value >= bound),
    "maximum": ("number", lambda value, bound: value <= bound),
    "exclusiveMinimum": ("number", lambda value, bound: value > bound),
    "exclusiveMaximum": ("number", lambda value, bound: value < bound),
    "minLength": ("string", lambda value, bound: len(value) >= bound),
    "maxLength": ("string", lambda value, bound: len(value) <= bound),
    "minItems": ("array", lambda value, bound: len(value) >= bound),
    "maxItems": ("array", lambda value, bound: len(value) <= bound),
    "minProperties": ("object", lambda value, bound: len(value) >= bound),
    "maxProperties": ("object", lambda value, bound: len(value) <= bound),
    "pattern": ("string", lambda value, bound: re.search(bound, value) is not None),
}


def schema_errors(value: Any, schema: Mapping[str, Any]) -> list[str]:
    """What is wrong with ``value``, each as ``path: rule`` without quoting any value; empty when it fits."""
    return list(_errors(value, schema, schema, "$", 0))


def _errors(value: Any, schema: Any, root: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    if schema is True or depth > MAX_DEPTH:
        return
    if not isinstance(schema, Mapping):
        yield f"{path}: nothing is allowed here"
        return
    if "$ref" in schema:
        yield from _errors(value, _resolved(schema["$ref"], root), root, path, depth + 1)
    yield from _plain_errors(value, schema, path)
    yield from _combined_errors(value, schema, root, path, depth)
    if isinstance(value, dict):
        yield from _object_errors(value, schema, root, path, depth)
    if isinstance(value, list):
        yield from _array_errors(value, schema, root, path, depth)


def _plain_errors(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[str]:
    kinds = schema.get("type", [])
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    if wanted and not any(_TYPES.get(kind, lambda _: True)(value) for kind in wanted):
        yield f"{path}: not of type {' or '.join(wanted)}"
    if "enum" in schema and not any(_same(value, option) for option in schema["enum"]):
        yield f"{path}: not one of the allowed values"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{path}: not the required value"
    for rule, (kind, holds) in _BOUNDS.items():
        if rule in schema and _TYPES[kind](value) and not holds(value, schema[rule]):
            yield f"{path}: {rule}"


def _combined_errors(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int
) -> Iterator[str]:
    def fits(part: Any) -> bool:
        return next(_errors(value, part, root, path, depth + 1), None) is None

    for part in schema.get("allOf", ()):
        yield from _errors(value, part, root, path, depth + 1)
    if "anyOf" in schema and not any(map(fits, schema["anyOf"])):
        yield f"{path}: fits none of anyOf"
    if "oneOf" in schema and sum(map(fits, schema["oneOf"])) != 1:
        yield f"{path}: fits not exactly one of oneOf"
    if "not" in schema and fits(schema["not"]):
        yield f"{path}: not"


def _object_errors(
    value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int
) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}: lacks {name}"
    for name, part in value.items():
        if name in known:
            yield from _errors(part, known[name], root, f"{path}.{name}", depth + 1)
        elif "additionalProperties" in schema:
            # The name came from the model, so it is not repeated.
            yield from _errors(part, schema["additionalProperties"], root, f"{path}.*", depth + 1)


def _array_errors(
    value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any], path: str, depth: int
) -> Iterator[str]:
    ordered = schema.get("prefixItems", ())
    for place, part in enumerate(value):
        rule = ordered[place] if place < len(ordered) else schema.get("items", True)
        yield from _errors(part, rule, root, f"{path}[{place}]", depth + 1)
    if schema.get("uniqueItems") and any(_same(one, two) for n, one in enumerate(value) for two in value[:n]):
        yield f"{path}: uniqueItems"


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    target: Any = root
    for step in reference.lstrip("#").strip("/").split("/") if reference.strip("#/") else []:
        name = step.replace("~1", "/").replace("~0", "~")
        target = target.get(name, True) if isinstance(target, Mapping) else True
    return target


def _same(one: Any, two: Any) -> bool:
    # In JSON true is not 1, though Python says they are equal.
    return isinstance(one, bool) == isinstance(two, bool) and bool(one == two)
