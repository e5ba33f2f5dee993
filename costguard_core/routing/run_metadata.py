"""A router's decision in the metadata of a framework's run, by which handlers, guarded models and traces see it."""

from __future__ import annotations

from collections.abc import Mapping

from costguard_core.types import Baseline

ROUTE = "costguard_route"
"""The decision in one line."""
# The model that would have answered without a router, and what earlier calls for the answer were said to save.
_INSTEAD, _OWED = "costguard_route_instead", "costguard_route_owed"


def route_metadata(route: str, baseline: Baseline | None) -> dict[str, object]:
    """Metadata that says how a call was routed, and which model would have answered without a router."""
    if baseline is None:
        return {ROUTE: route}
    model, provider, owed = baseline
    return {ROUTE: route, _INSTEAD: f"{provider or ''}/{model}", **({_OWED: owed} if owed else {})}


def baseline_of(metadata: Mapping[str, object]) -> Baseline | None:
    """What :func:`route_metadata` wrote."""
    named = metadata.get(_INSTEAD)
    if not isinstance(named, str):
        return None
    provider, _, model = named.partition("/")
    owed = metadata.get(_OWED)
    return Baseline(model, provider or None, owed if isinstance(owed, int) else 0)
