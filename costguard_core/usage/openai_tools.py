"""Functions as OpenAI's models read them, to count them.

They are written into the prompt as type definitions of TypeScript. That is documented for gpt-oss, whose form of a
prompt is public: https://cookbook.openai.com/articles/openai-harmony#function-calling. What was billed for recorded
prompts is a little more than this text, in the median nine tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What is nested more deeply than this, or has more types, is counted as JSON.
_DEEPEST, _MOST_TYPES = 24, 5_000
_WORDS = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}
FUNCTIONS_END = "} // namespace functions"
_FIELDS = frozenset(("type", "name", "description", "parameters", "strict"))
_DEFINITIONS = ("$defs", "definitions")
_CHOICES = ("anyOf", "oneOf", "allOf")


def functions_text(tools: Iterable[Any]) -> tuple[str, list[Any]]:
    """The definitions of functions, and the tools that are no functions in a form that is known here."""
    lines: list[str] = []
    others = []
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        kind = tool.get("type", "function") if isinstance(tool, Mapping) else None
        known = isinstance(function, Mapping) and isinstance(function.get("name"), str) and _FIELDS.issuperset(function)
        if kind != "function" or not isinstance(function, Mapping) or not known:
            others.append(tool)
            continue
        try:
            lines += _Writer().definition(function)
        except _Unwritable:
            others.append(tool)
    return ("\n".join(["namespace functions {", "", *lines, FUNCTIONS_END]) if lines else ""), others


def is_without_schema(value: object) -> bool:
    """Whether a format of the answer (``response_format`` or ``text``) has no schema, so that nothing is told of it."""
    form = value.get("format", value) if isinstance(value, Mapping) else value
    return isinstance(form, Mapping) and form.get("type") in ("text", "json_object")


class _Unwritable(Exception):
    """A schema that refers to itself, or is too large."""


class _Writer:
    """Writes the definition of one function."""

    def __init__(self) -> None:
        self._left = _MOST_TYPES

    def definition(self, function: Mapping[str, Any]) -> list[str]:
        given = function.get("parameters")
        parameters = given if isinstance(given, Mapping) else {}
        comment = [f"// {function['description']}"] if function.get("description") else []
        if not parameters.get("properties"):
            return [*comment, f"type {function['name']} = () => any;", ""]
        fields = "\n".join(self._fields(parameters, {}, ()))
        return [*comment, f"type {function['name']} = (_: {{", fields, "}) => any;", ""]

    def _fields(self, schema: Mapping[str, Any], known: Mapping[str, Any], inside: tuple[str, ...]) -> Iterator[str]:
        known = _with_definitions(schema, known)
        required = schema.get("required")
        required = required if isinstance(required, (list, tuple)) else ()
        properties = schema.get("properties")
        for name, value in properties.items() if isinstance(properties, Mapping) else ():
            field = value if isinstance(value, Mapping) else {}
            if field.get("description"):
                yield f"// {field['description']}"
            default = f" // default: {field['default']}" if "default" in field else ""
            yield f"{name}{'' if name in required else '?'}: {self._type(field, known, inside)},{default}"

    def _type(self, schema: Mapping[str, Any], known: Mapping[str, Any], inside: tuple[str, ...]) -> str:
        """``inside``: the references and the objects that this type stands in."""
        self._left -= 1
        if self._left < 0 or len(inside) > _DEEPEST:
            raise _Unwritable
        if isinstance(target := schema.get("$ref"), str):
            return self._referred(target, known, inside)
        if isinstance(values := schema.get("enum"), (list, tuple)):
            return " | ".join(json.dumps(value, ensure_ascii=False, default=str) for value in values)
        kinds, inside = schema.get("type"), (*inside, "")
        if isinstance(kinds, (list, tuple)):
            return " | ".join(self._type({**schema, "type": kind}, known, inside) for kind in kinds)
        if isinstance(kinds, str) and kinds in _WORDS:
            return _WORDS[kinds]
        if kinds == "array":
            items = schema.get("items")
            return f"{self._type(items, known, inside) if isinstance(items, Mapping) and items else 'any'}[]"
        if kinds == "object" or "properties" in schema:
            fields = "\n".join(self._fields(schema, known, inside))
            return f"{{\n{fields}\n}}" if fields else "object"
        choices = next((schema[name] for name in _CHOICES if isinstance(schema.get(name), (list, tuple))), ())
        return " | ".join(self._type(one, known, inside) for one in choices if isinstance(one, Mapping)) or "any"

    def _referred(self, target: str, known: Mapping[str, Any], inside: tuple[str, ...]) -> str:
        if target in inside:
            raise _Unwritable
        found = known.get(target)
        return self._type(found, known, (*inside, target)) if isinstance(found, Mapping) else "any"


def _with_definitions(schema: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _DEFINITIONS:
        if isinstance(found := schema.get(name), Mapping):
            known = {**known, **{f"#/{name}/{key}": value for key, value in found.items()}}
    return known
