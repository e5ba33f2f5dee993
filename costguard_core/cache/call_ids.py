"""Ids of calls of tools, by the order in which they appear: providers invent new ones for every call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# How frameworks and providers name the id of a call of a tool.
_CALL_IDS = ("id", "tool_call_id", "tool_use_id", "call_id")


def renamed(call_id: object, ids: dict[str, str]) -> str | None:
    """The new name of an id; ``ids`` holds those that have appeared."""
    return None if call_id is None else ids.setdefault(str(call_id), f"call_{len(ids)}")


def is_call_id(name: str, value: object) -> bool:
    """Whether an entry of this name may be the id of a call of a tool."""
    return name in _CALL_IDS and isinstance(value, str)


def with_known_ids(content: object, ids: Mapping[str, str]) -> object:
    """Blocks of content in which those ids of calls are renamed that have a new name already; others are content."""
    if not ids or not isinstance(content, list):
        return content
    return [_with_known(block, ids) if isinstance(block, dict) else block for block in content]


def _with_known(block: dict[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    found = {name: ids[block[name]] for name in _CALL_IDS if is_call_id(name, block.get(name)) and block[name] in ids}
    return {**block, **found} if found else block


def with_renamed_ids(name: str, value: Any, ids: dict[str, str] | None) -> Any:
    """An entry beside a message as JSON types, with the ids of calls renamed at any depth; ``None``: it has none."""
    if ids is not None and is_call_id(name, value):
        return renamed(value, ids)
    if hasattr(type(value), "model_fields"):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): with_renamed_ids(str(key), item, ids) for key, item in value.items()}
    return [with_renamed_ids("", item, ids) for item in value] if isinstance(value, (list, tuple)) else value
