"""Chat models as the tiers of a router."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda

from costguard_core import CostGuard
from costguard_core.errors import ConfigurationError
from costguard_core.pricing import PriceBook
from costguard_core.routing import Tier
from costguard_core.routing.cascade import BaseTieredRouter, RouterOptions, TierFactory
from costguard_core.routing.conditions import Condition, over_messages
from costguard_core.routing.tier_prices import TierModel, tier_price
from costguard_core.routing.tiers import shared_abilities
from costguard_core.routing.validation import described, plain_function
from costguard_core.usage.parameters import Known, model_name
from costguard_core.util.options import check_spelling
from langchain_costguard.callbacks.handler import judging_config
from langchain_costguard.chat_model.guarded import GuardedChatModel
from langchain_costguard.translate import parameters

# LangChain's profile of a model says what it takes: name of the entry → modality.
_PROFILED = {"image_inputs": "image", "audio_inputs": "audio", "video_inputs": "video", "pdf_inputs": "pdf"}

_judge_config: ContextVar[RunnableConfig | None] = ContextVar("costguard_judge_config", default=None)


class ChatModelTiers(TierFactory[BaseChatModel]):
    """Makes tiers of LangChain's chat models."""

    model_class = BaseChatModel
    noun = "model"
    judge_options: Mapping[str, Any] = {"cache": False}

    def runs(self, model: BaseChatModel) -> TierModel:
        ls: Mapping[str, Any] = model._get_ls_params()
        return TierModel(model_name(Known(*map(ls.get, parameters.KNOWN)), {}), ls.get("ls_provider"))

    def display_name(self, model: BaseChatModel) -> str:
        """What it runs, else its class."""
        name = self.runs(model).name
        return type(model).__name__ if name.startswith("(") else name

    def tier(self, name: str, model: BaseChatModel, prices: PriceBook) -> Tier:
        profile: Mapping[str, Any] = model.profile or {}
        runs = self.runs(model)
        accepted = {modality for entry, modality in _PROFILED.items() if profile.get(entry)}
        return Tier(
            name,
            price=tier_price(prices, runs.name, runs.provider),
            max_input_tokens=profile.get("max_input_tokens"),
            modalities=frozenset(accepted) if any(entry in profile for entry in _PROFILED) else None,
            tools=profile.get("tool_calling") is not False and type(model).bind_tools is not BaseChatModel.bind_tools,
        )

    def guard_of(self, model: BaseChatModel) -> CostGuard | None:
        return getattr(model, "guard", None) if isinstance(model, (GuardedChatModel, BaseTieredRouter)) else None

    def guarded(self, model: BaseChatModel, guard: CostGuard | None, **options: object) -> BaseChatModel:
        """``options`` are those of :class:`GuardedChatModel`; a bare model without a guard only takes ``cache``."""
        cache = options.get("cache")
        guard = self.guard_of(model) if guard is None else guard
        if guard is None and isinstance(model, BaseTieredRouter):  # its tiers answer
            inner = {name: self.guarded(tier, None, **options) for name, tier in cast(Any, model).models.items()}
            return model.model_copy(update={"models": inner})
        if guard is None:
            return model if cache is None else model.model_copy(update={"cache": cache})
        if isinstance(model, GuardedChatModel) and model.guard is guard and (cache is None or model.has_cache):
            return model
        return GuardedChatModel(model, guard, **options)

    def condition(self, given: object) -> Condition:
        """From a function of the messages or a ``Runnable``."""
        function = given.invoke if isinstance(given, Runnable) else given
        if not callable(function):
            raise ConfigurationError(f"a condition is a function of the messages or a Runnable, not {described(given)}")
        if isinstance(given, RunnableLambda) and not hasattr(given, "func"):  # a Runnable of an async function alone
            plain_function(given.afunc, "a condition")
        name = given.get_name() if isinstance(given, Runnable) else getattr(given, "__name__", "")
        return over_messages(function, "<lambda>" if name in ("", "RunnableLambda") else name)

    def ask(self, model: BaseChatModel, prompt: str) -> str:
        return str(model.invoke(prompt, _judge_config.get()).text)


CHAT_MODEL_TIERS = ChatModelTiers()


@contextmanager
def judging_for(config: RunnableConfig) -> Iterator[None]:
    """Inside, a judge is asked in the name of the caller with this configuration."""
    token = _judge_config.set(judging_config(config))
    try:
        yield
    finally:
        _judge_config.reset(token)


def check_options(options: Mapping[str, object], known: Collection[str]) -> None:
    """Refuse a tier that is no chat model, and misspelt options: they would only be missing.

    Raises:
        ConfigurationError: names the first one.
    """
    wrong = {name: value for name, value in options.items() if name not in known and isinstance(value, Runnable)}
    for name, value in wrong.items():
        raise ConfigurationError(
            f"{name}= is neither an option of a router nor a chat model, but {type(value).__name__}. Bind options "
            "to the router, and give it fallbacks: router.with_fallbacks([...])"
        )
    # Other names pass: LangChain expects every chat model to take `temperature`, `stop`, `streaming` and the like.
    check_spelling("a router", options, known, (*RouterOptions.__dataclass_fields__, *known))


def common_profile(models: Iterable[BaseChatModel]) -> ModelProfile | None:
    """What all tiers can do, for agents that ask: the weaker of each ability; ``None`` if one has no profile."""
    shared = shared_abilities([model.profile or {} for model in models])
    return None if shared is None else cast(ModelProfile, shared)
