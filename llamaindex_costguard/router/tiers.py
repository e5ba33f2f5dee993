"""LLMs as the tiers of a router."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.llms import LLM
from llama_index.core.llms.function_calling import FunctionCallingLLM

from costguard_core import ConfigurationError, CostGuard
from costguard_core.cache.declared import bound
from costguard_core.pricing import PriceBook
from costguard_core.routing import Tier
from costguard_core.routing.cascade import BaseTieredRouter, TierFactory
from costguard_core.routing.conditions import Condition, over_messages
from costguard_core.routing.tier_prices import TierModel, tier_price
from costguard_core.routing.validation import described
from llamaindex_costguard.llm.guarded import guard_llm, guarding_of, put_on_bill
from llamaindex_costguard.translate.keys import metadata_of, model_name, provider_of


class LLMTiers(TierFactory[LLM]):
    """Makes tiers of LlamaIndex's LLMs."""

    model_class = LLM
    noun = "llm"

    def runs(self, model: LLM) -> TierModel:
        return TierModel(model_name(model), provider_of(type(model)))

    def display_name(self, model: LLM) -> str:
        """What it runs."""
        return model_name(model)

    def tier(self, name: str, model: LLM, prices: PriceBook) -> Tier:
        if isinstance(model, BaseTieredRouter):
            raise ConfigurationError(f"{name}= is a router itself; give its tiers to this one")
        metadata, runs = metadata_of(model), self.runs(model)
        window = None if metadata is None else max(1, metadata.context_window - max(0, metadata.num_output))
        return Tier(
            name,
            price=tier_price(prices, runs.name, runs.provider),
            max_input_tokens=window,
            tools=isinstance(model, FunctionCallingLLM) and (metadata is None or metadata.is_function_calling_model),
        )

    def guard_of(self, model: LLM) -> CostGuard | None:
        guarding = guarding_of(model)
        return None if guarding is None else guarding.guard

    def guarded(self, model: LLM, guard: CostGuard | None, **options: Any) -> LLM:
        """``options`` are those of :func:`guard_llm`; a tier that ``guard`` guards already only takes a ``cache``."""
        before, cache = guarding_of(model), options.get("cache")
        if guard is not None and (before is None or before.guard is not guard):
            return guard_llm(model, guard, **options)
        if guard is None or before is None or before.cache is not None or cache is None:
            return model
        return put_on_bill(model, replace(before, name=guard.new_id(), cache=bound(cache, guard)))

    def condition(self, given: object) -> Condition:
        """From a function of the messages."""
        if not callable(given):
            raise ConfigurationError(f"a condition is a function of the messages, not {described(given)}")
        return over_messages(given, getattr(given, "__name__", "<lambda>"))

    def ask(self, model: LLM, prompt: str) -> str:
        return model.complete(prompt).text


LLM_TIERS = LLMTiers()


def common_metadata(models: Mapping[str, LLM]) -> LLMMetadata:
    """What all tiers can do: the least of each.

    Raises:
        ValueError: what an integration raises that does not know its model.
    """
    each = [llm.metadata for llm in models.values()]
    roles = {metadata.system_role for metadata in each}
    return LLMMetadata(
        context_window=min(metadata.context_window for metadata in each),
        num_output=min(metadata.num_output for metadata in each),
        is_chat_model=all(metadata.is_chat_model for metadata in each),
        is_function_calling_model=all(metadata.is_function_calling_model for metadata in each),
        model_name=" | ".join(map(model_name, models.values())),
        # A model that knows no system messages takes them from a user; the others take that as well.
        system_role=next(iter(roles)) if len(roles) == 1 else MessageRole.USER,
    )
