"""What of a request's parameters and a model's settings can change an answer, as data; the rest splits no cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from costguard_core.cache.keys import NotCanonical, canonical
from costguard_core.cache.provider_tools import HOSTED
from costguard_core.cache.secrets import identified, is_secret, one_way, signs_in

# Who asks, how it is billed and where it is filed: https://platform.openai.com/docs/api-reference/chat/create,
# https://docs.anthropic.com/en/api/messages, https://openrouter.ai/docs/api-reference/overview
_ASIDE = frozenset(
    (
        "user user_id end_user_id safety_identifier prompt_cache_key prompt_cache_retention service_tier metadata "
        "request_id trace trace_id"
    ).split()
)
_NESTED = frozenset("extra_body model_kwargs additional_kwargs".split())


def answering(parameters: Mapping[str, object], *, callers: bool = True) -> dict[str, object]:
    """The parameters that can change an answer, also of those inside ``extra_body`` and the like.

    Headers are as :func:`~costguard_core.cache.secrets.identified` makes them; without ``callers`` those that
    authenticate are left out, for a key that has :func:`caller_of` beside it.
    """
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in _ASIDE:
            continue
        kept = value
        if isinstance(value, Mapping) and (name in _NESTED or "headers" in name):
            kept = answering(value, callers=callers) if name in _NESTED else identified(value)
            if "headers" in name and not callers:
                kept = {header: kept[header] for header in kept if not is_secret(header)}
            if not kept:
                continue
        found[name] = kept
    return found


def caller_of(parameters: Mapping[str, object]) -> str:
    """Who signs in by headers, as a digest that shows no secret; empty if nobody does."""
    found = [
        (name, header, value)
        for name, given in parameters.items()
        if isinstance(given, Mapping) and "headers" in name
        for header, value in identified(given).items()
        if is_secret(header)
    ]
    found += [
        (name, "", inner)
        for name in sorted(_NESTED & parameters.keys())
        if isinstance(given := parameters[name], Mapping) and (inner := caller_of(given))
    ]
    return one_way(canonical(sorted(found))) if found else ""


def written_settings(
    settings: Mapping[str, object], known: Callable[[object], object], *, callers: bool = True
) -> dict[str, object]:
    """The settings of a model that can change an answer, as JSON types and without secrets.

    ``known`` returns the written form of a value that the framework knows better, else ``None``. ``callers`` is as of
    :func:`answering`.

    Raises:
        NotCanonical: a setting without an exact written form.
    """
    given = answering(settings, callers=callers).items()
    return {name: _written(name, value, known) for name, value in given if value is not None}


def _written(name: str, value: object, known: Callable[[object], object]) -> object:
    if (form := known(value)) is not None:
        return form
    if isinstance(value, Mapping):
        if name in HOSTED and signs_in(value):
            raise NotCanonical("a tool that signs in as somebody")
        if "headers" in name:
            return dict(value)  # as `answering` made them
        return {str(key): _written(str(key), item, known) for key, item in value.items() if not is_secret(str(key))}
    if isinstance(value, (list, tuple)):
        return [_written(name, item, known) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(canonical(_written(name, item, known)) for item in value)
    if hasattr(type(value), "model_fields"):
        return [type(value).__qualname__, _written(name, _dumped(value), known)]
    return _imported(value) if callable(value) else value


def _dumped(value: Any) -> Any:
    """An object of pydantic's."""
    try:
        return value.model_dump(mode="json")
    except Exception:  # pydantic cannot write it either
        raise NotCanonical(f"a setting of type {type(value).__name__}") from None


def _imported(function: Callable[..., object]) -> str:
    """A function or class by the name under which anybody can import it; any other could be anything."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not name or getattr(sys.modules.get(module), name, None) is not function:
        raise NotCanonical("a setting that is a function without a name")
    return f"{module}.{name}"
