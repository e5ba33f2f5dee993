"""What users hand in, checked where they do: a wrong thing is named at once, not by what it lacks three calls later."""

from __future__ import annotations

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM

from costguard_core import ConfigurationError
from costguard_core.util.options import shown


def checked_llm(given: object) -> None:
    """Raises ConfigurationError: it is no LLM."""
    if isinstance(given, BaseEmbedding):
        raise ConfigurationError("guard_llm takes an LLM, and this is an embedding model: use guard_embedding")
    if not isinstance(given, LLM):
        raise ConfigurationError(f"guard_llm takes a LlamaIndex LLM, such as OpenAI(model=...), not {shown(given)}")


def checked_embedding(given: object) -> None:
    """Raises ConfigurationError: it is no embedding model."""
    if isinstance(given, LLM):
        raise ConfigurationError("guard_embedding takes an embedding model, and this is an LLM: use guard_llm")
    if not isinstance(given, BaseEmbedding):
        raise ConfigurationError(f"guard_embedding takes a LlamaIndex embedding model, not {shown(given)}")
