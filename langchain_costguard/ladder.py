"""Chat models as the tiers of a router, and on whose bill they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel

from costguard_core import CostGuard
from costguard_core.dispatch.ladder import Rungs
from langchain_costguard import routes
from langchain_costguard.guarded import GuardedChatModel


def on_bill(
    model: BaseChatModel, guard: CostGuard | None, *, cache: BaseCache | bool | None, **options: Any
) -> BaseChatModel:
    """The model, guarded unless it is already, or nobody is to guard it."""
    if guard is None:
        return model if cache is None else model.model_copy(update={"cache": cache})
    if isinstance(model, GuardedChatModel) and model.guard is guard and (cache is None or model.has_cache):
        return model
    return GuardedChatModel(model, guard, cache=cache, **options)


def common_profile(models: Iterable[BaseChatModel]) -> Any:
    """What all tiers can do, for agents that ask: the weaker of each ability; ``None`` if one does not say."""
    profiles: list[Mapping[str, Any]] = [model.profile or {} for model in models]
    if not all(profiles):
        return None
    shared = set.intersection(*(set(profile) for profile in profiles))
    comparable = {name for name in shared if all(isinstance(profile[name], (bool, int)) for profile in profiles)}
    return {name: min(profile[name] for profile in profiles) for name in sorted(comparable)}


def _guard_of(model: BaseChatModel) -> CostGuard | None:
    return model.guard if isinstance(model, GuardedChatModel) else None


RUNGS = Rungs(
    kind=BaseChatModel,
    word="model",
    name=routes.display_name,
    tier=routes.tier_of,
    bill=_guard_of,
    condition=routes.condition,
)
