"""Chat models as the tiers of a router, and on whose bill they are."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from costguard_core import CostGuard
from costguard_core.errors import ConfigurationError
from costguard_core.routing.cascade.tier_factory import Rungs
from langchain_costguard.chat_model.guarded import GuardedChatModel
from langchain_costguard.router import translate as routes


def on_bill(
    model: BaseChatModel, guard: CostGuard | None, *, cache: BaseCache | bool | None, **options: Any
) -> BaseChatModel:
    """The model, guarded unless it is already, or nobody is to guard it."""
    if guard is None:
        return model if cache is None else model.model_copy(update={"cache": cache})
    if isinstance(model, GuardedChatModel) and model.guard is guard and (cache is None or model.has_cache):
        return model
    return GuardedChatModel(model, guard, cache=cache, **options)


_OPTIONS = ("score", "share", "threshold", "default", "judge", "sticky", "verify", "budget", "log", "shadow")


def check_options(options: Mapping[str, Any], known: Container[str]) -> None:
    """A tier that is no chat model, or a misspelt option, would only be missing. Other words are let through: LangChain
    expects every chat model to take ``temperature``, ``stop``, ``streaming`` and the like.

    Raises:
        ConfigurationError: names the first one.
    """
    for name, given in options.items():
        if name not in known and (isinstance(given, Runnable) or get_close_matches(name, _OPTIONS, cutoff=0.8)):
            told = f"{name}= is neither an option of a router nor a chat model, but {type(given).__name__}"
            hint = ". Bind options to the router, and give it fallbacks: router.with_fallbacks([...])"
            raise ConfigurationError(told + (hint if isinstance(given, Runnable) else ""))


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
