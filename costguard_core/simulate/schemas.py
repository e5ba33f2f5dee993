"""A JSON value that satisfies a JSON schema, chosen by a seeded random. Covers what structured outputs use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor
from random import Random
from typing import Any

_FORMATS = {
    "date": "2026-03-14",
    "time": "09:30:00Z",
    "date-time": "2026-03-14T09:30:00Z",
    "email": "customer@example.com",
    "uuid": "7f8d1c1e-5b1f-4d0a-9b63-0d6c3c1a2e55",
    "uri": "https://example.com/help",
    "ipv4": "192.0.2.7",
    "hostname": "example.com",
    "duration": "PT2H",
}
_WORDS = ("parcel", "refund", "delivery", "invoice", "account", "setting", "warranty", "return", "address", "discount")
_MAX_DEPTH = 5


def example(schema: Mapping[str, object], random: Random) -> object:
    """An instance of ``schema``. ``pattern`` is not looked at; optional recursive parts end after a few levels."""
    return _value(schema, schema, random, 0)


def _value(schema: Mapping[str, Any], root: Mapping[str, Any], random: Random, depth: int) -> Any:
    schema = _resolve(schema, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return random.choice(schema["enum"])
    variants = schema.get("anyOf") or schema.get("oneOf")
    if variants:
        return _value(_variant(variants, root, depth), root, random, depth)
    kind = _type_of(schema)
    if kind == "object":
        return _object(schema, root, random, depth)
    if kind == "array":
        return _array(schema, root, random, depth)
    make = _SCALARS.get(kind)
    return make(schema, random) if make else None


def _resolve(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        target: Any = root
        for name in schema["$ref"].removeprefix("#").strip("/").split("/"):
            target = target[name] if name else target
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "allOf" in schema:
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            merged = _merge(merged, _resolve(part, root))
        return merged
    return schema


def _merge(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    merged["properties"] = {**one.get("properties", {}), **other.get("properties", {})}
    merged["required"] = [*one.get("required", ()), *other.get("required", ())]
    return merged


def _variant(variants: Sequence[Mapping[str, object]], root: Mapping[str, object], depth: int) -> Mapping[str, object]:
    """The first variant says most; deep inside a recursive schema a null (or any scalar) ends the recursion."""
    if depth < _MAX_DEPTH:
        return variants[0]
    return min(variants, key=lambda v: _type_of(_resolve(v, root)) in ("object", "array"))


def _type_of(schema: Mapping[str, object]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return str(next((k for k in kind if k != "null"), "null"))
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], random: Random, depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    wanted = [name for name in properties if depth < _MAX_DEPTH or name in required]
    made = {name: _value(properties[name], root, random, depth + 1) for name in wanted}
    extra = schema.get("additionalProperties")
    if not properties and isinstance(extra, Mapping):
        made["key"] = _value(extra, root, random, depth + 1)
    return made


def _array(schema: Mapping[str, Any], root: Mapping[str, Any], random: Random, depth: int) -> list[Any]:
    if "prefixItems" in schema:
        return [_value(item, root, random, depth + 1) for item in schema["prefixItems"]]
    least = int(schema.get("minItems", 0))
    most = int(schema.get("maxItems", max(least, 3)))
    size = least if depth >= _MAX_DEPTH else max(least, min(most, 1 + random.randrange(2)))
    return [_value(schema.get("items", {}), root, random, depth + 1) for _ in range(size)]


def _string(schema: Mapping[str, Any], random: Random) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = " ".join(random.sample(_WORDS, 2))
    while len(text) < schema.get("minLength", 0):
        text = f"{text} {random.choice(_WORDS)}"
    return text[: schema.get("maxLength", len(text))]


def _integer(schema: Mapping[str, Any], random: Random) -> int:
    step = int(schema.get("multipleOf", 1))
    low = ceil(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1) / step)
    high = floor(schema.get("maximum", schema.get("exclusiveMaximum", (low + 20) * step + 1) - 1) / step)
    return step * random.randint(low, max(low, high))


def _number(schema: Mapping[str, Any], random: Random) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0.0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", max(low, 0.0) + 100.0))
    share = 0.1 + 0.8 * random.random()  # strictly inside, so exclusive bounds hold too
    return float(low + (high - low) * round(share, 3))


def _boolean(schema: Mapping[str, object], random: Random) -> bool:
    del schema
    return random.random() < 0.5


_SCALARS: Mapping[str, Callable[[Mapping[str, object], Random], object]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}
