"""What frameworks call a provider → what the price list calls it."""

from __future__ import annotations

# Served from the user's own machines: a hosted provider's price for the same model name would be a guess.
_LOCAL = (
    "ollama",
    "llamacpp",
    "llama_cpp",
    "llama-cpp",
    "llamafile",
    "vllm",
    "lmstudio",
    "lm_studio",
    "gpt4all",
    "mlx",
    "huggingface_pipeline",
    "huggingface_local",
    "local",
)

# First hit wins, so a host comes before the maker of the models that it serves ("azure_openai" is azure).
_PARTS: tuple[tuple[str, str], ...] = (
    ("azure", "azure"),
    ("bedrock", "aws"),
    ("amazon", "aws"),
    ("sagemaker", "aws"),
    ("vertex", "google"),
    ("google", "google"),
    ("gemini", "google"),
    ("openrouter", "openrouter"),
    ("mistral", "mistral"),
    ("together", "together"),
    ("fireworks", "fireworks"),
    ("deepseek", "deepseek"),
    ("perplexity", "perplexity"),
    ("moonshot", "moonshotai"),
    ("groq", "groq"),
    ("cohere", "cohere"),
    ("anthropic", "anthropic"),
    ("openai", "openai"),
)
_EXACT = {
    "xai": "x-ai",
    "x_ai": "x-ai",
    "x-ai": "x-ai",
    "aws": "aws",
    "voyage": "voyageai",
    "openai-decisions": "openai-decisions",
}

# Hugging Face bills through a partner, and the list names both ("huggingface_fireworks-ai").
_ROUTED = "huggingface_"


def is_local(provider: str | None) -> bool:
    """Whether this names a self-hosted server, which has no list price."""
    return provider is not None and any(part in provider.lower() for part in _LOCAL)


def provider_id(provider: str | None) -> str | None:
    """The price list's id for LangChain's ``ls_provider``, LlamaIndex's class names and similar, ``None`` if unknown.

    Raises nothing: a name that is not known here may still be an id of the price list itself.
    """
    if not provider:
        return None
    name = provider.lower().strip()
    if name.startswith(_ROUTED):
        return name
    if name in _EXACT:
        return _EXACT[name]
    return next((known for part, known in _PARTS if part in name), None)
