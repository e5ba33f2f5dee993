"""LangChain's words for the parameters of a call, translated into the core's."""

from __future__ import annotations

from functools import lru_cache

from langchain_core.language_models import BaseChatModel

from costguard_core.usage.parameters import OUTPUT_LIMITS, OutputCap

KNOWN = ("ls_model_name", "ls_provider", "ls_max_tokens")
"""LangSmith's names, in the metadata of a model, for what :class:`costguard_core.usage.parameters.Known` holds."""


_CAPS = {
    # ChatOpenAI translates "max_tokens", and Azure's class, which is sent the same field under this name, does not. Its
    # reasoning models take no other: https://learn.microsoft.com/azure/ai-foundry/openai/how-to/reasoning
    "AzureChatOpenAI": "max_completion_tokens",
    "ChatCohere": "max_tokens",  # it has no such field, and passes the argument on
}


@lru_cache(maxsize=256)
def output_cap(model: type[BaseChatModel]) -> OutputCap | None:
    """How models of this class take a limit; ``None``: no way is known, so none is sent."""
    for base in model.__mro__:
        if base.__name__ in _CAPS:
            return OutputCap(_CAPS[base.__name__])
    fields = model.model_fields
    if "max_tokens" in fields:  # ChatOpenAI has both spellings and translates this one for every endpoint
        return OutputCap("max_tokens")
    name = next((name for name in OUTPUT_LIMITS if name in fields), None)
    return None if name is None else OutputCap(name, is_field=name == "num_predict")  # Ollama: one of its "options"
