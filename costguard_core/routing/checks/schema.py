"""Whether a value fits a JSON schema, with errors that quote nothing of the value.

The rules are those of https://json-schema.org, of the draft that the schema names (2020-12 if it names none), checked
by the ``jsonschema`` library. ``format`` is an annotation and not checked. References to other documents are never
fetched: a schema must not make this process call another host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from costguard_core.errors import ConfigurationError

if TYPE_CHECKING:
    from jsonschema import ValidationError

_MESSAGES: Mapping[str, str] = {
    "enum": "not one of the allowed values",
    "const": "not the required value",
    "anyOf": "fits none of anyOf",
    "oneOf": "fits not exactly one of oneOf",
}


def schema_check(schema: Mapping[str, object]) -> Callable[[object], list[str]]:
    """A function that says what is wrong with a value, each as ``path: rule``; an empty list when it fits.

    Raises:
        ConfigurationError: it is not a valid schema.
    """
    # Imported here: it takes 40 ms, and most processes check no schema.
    from jsonschema import Draft202012Validator, SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    draft = validator_for(schema, default=Draft202012Validator)
    try:
        draft.check_schema(dict(schema))
    except SchemaError as error:
        raise ConfigurationError(f"not a JSON schema: {error.json_path}: {error.message}") from error
    validator = draft(dict(schema), registry=Registry())

    def errors(value: Any) -> list[str]:
        try:
            return list(dict.fromkeys(map(_described, validator.iter_errors(value))))
        except Unresolvable:
            return ["$: the schema refers to what is not in it"]
        except RecursionError:  # it refers to itself without looking further into the value, and so requires nothing
            return []

    return errors


def schema_errors(value: object, schema: Mapping[str, object]) -> list[str]:
    """What is wrong with ``value`` (see :func:`schema_check`)."""
    return schema_check(schema)(value)


def _described(error: ValidationError) -> str:
    return f"{_path(error)}: {_rule(error)}"


def _path(error: ValidationError) -> str:
    """Where the error is. Names that only the value has came from a model, so they are not repeated."""
    rules = list(error.absolute_schema_path)
    known = {name for rule, name in pairwise(rules) if rule == "properties"}
    steps = (
        f"[{step}]" if isinstance(step, int) else f".{step if step in known else '*'}" for step in error.absolute_path
    )
    return "$" + "".join(steps)


def _rule(error: ValidationError) -> str:
    rule, expected, value = error.validator, cast(Any, error.validator_value), cast(Any, error.instance)
    if rule is None:
        return "nothing is allowed here"
    if rule == "type":
        return f"not of type {expected if isinstance(expected, str) else ' or '.join(expected)}"
    if rule == "required":
        return f"lacks {', '.join(name for name in expected if name not in value)}"
    return _MESSAGES.get(str(rule), str(rule))
