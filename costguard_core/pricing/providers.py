"""What frameworks, gateways and hosts call a seller → what the price list calls it."""

from __future__ import annotations

import re
from functools import lru_cache

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
    ("cerebras", "cerebras"),
    ("databricks", "databricks"),
    ("cloudflare", "cloudflare"),
    ("minimax", "minimax"),
    ("novita", "novita"),
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
    "voyageai": "voyageai",
    "z.ai": "zai",
    "bigmodel": "zhipuai",
    "openai-decisions": "openai-decisions",
    "github_copilot": "github-copilot",
    # Sellers that imitate OpenAI's API or carry another seller's name in theirs.
    "azure_ai": "azure",
    "openai_like": "",
    "text-completion-openai": "openai",
    "custom_openai": "",
}

# Hugging Face bills through a partner, and the list names both ("huggingface_fireworks-ai").
_ROUTED = "huggingface_"

# Hosts whose seller is certain, whatever the client that talks to them is called. The patterns are of the price list's
# own (genai-prices' ``Provider.api_pattern``), of which only hosts are needed.
_HOSTS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), seller)
    for pattern, seller in (
        (r"(^|\.)(openai\.azure\.com|azure-api\.net|cognitiveservices\.azure\.com|services\.ai\.azure\.com)$", "azure"),
        (r"^(eu\.|us\.)?api\.openai\.com$", "openai"),
        (r"^api\.anthropic\.com$", "anthropic"),
        (r"(^|\.)googleapis\.com$", "google"),
        (r"(^|\.)bedrock(-runtime|-mantle)?(-fips)?\.[a-z0-9-]+\.(vpce\.)?(amazonaws\.com|api\.aws)$", "aws"),
        (r"(^|\.)openrouter\.ai$", "openrouter"),
        (r"(^|\.)groq\.com$", "groq"),
        (r"(^|\.)mistral\.ai$", "mistral"),
        (r"(^|\.)together\.(xyz|ai)$", "together"),
        (r"(^|\.)fireworks\.ai$", "fireworks"),
        (r"(^|\.)deepseek\.com$", "deepseek"),
        (r"(^|\.)perplexity\.ai$", "perplexity"),
        (r"(^|\.)moonshot\.(ai|cn)$", "moonshotai"),
        (r"(^|\.)cerebras\.ai$", "cerebras"),
        (r"(^|\.)cohere\.(ai|com)$", "cohere"),
        (r"(^|\.)x\.ai$", "x-ai"),
        (r"(^|\.)z\.ai$", "zai"),
        (r"(^|\.)bigmodel\.cn$", "zhipuai"),
        (r"(^|\.)novita\.ai$", "novita"),
        (r"(^|\.)voyageai\.com$", "voyageai"),
        (r"(^|\.)minimaxi?\.(com|io)$", "minimax"),
        (r"(^|\.)avian\.io$", "avian"),
        (r"(^|\.)baseten\.co$", "baseten"),
        (r"(^|\.)githubcopilot\.com$", "github-copilot"),
        (r"(^|\.)cloud\.databricks\.com$|(^|\.)azuredatabricks\.net$", "databricks"),
        # Sellers that genai-prices does not have: the table's price, or none, but never somebody else's.
        (r"(^|\.)ai21\.com$", "ai21"),
        (r"(^|\.)friendli\.ai$", "friendliai"),
        (r"(^|\.)lambda\.ai$|(^|\.)lambdalabs\.com$", "lambda_ai"),
        (r"(^|\.)inference\.wandb\.ai$", "wandb"),
        (r"(^|\.)snowflakecomputing\.com$", "snowflake"),
        (r"(^|\.)ovh\.net$", "ovhcloud"),
        (r"(^|\.)scaleway\.ai$", "scaleway"),
        (r"(^|\.)volces\.com$", "volcengine"),
        (r"(^|\.)inceptionlabs\.ai$", "inception"),
        (r"(^|\.)morphllm\.com$", "morph"),
        (r"(^|\.)v0\.dev$", "v0"),
        (r"(^|\.)anyscale\.com$", "anyscale"),
        (r"(^|\.)sambanova\.ai$", "sambanova"),
        (r"(^|\.)replicate\.com$", "replicate"),
        (r"(^|\.)deepinfra\.com$", "deepinfra"),
        (r"(^|\.)nebius\.(ai|com)$", "nebius"),
        (r"(^|\.)hyperbolic\.xyz$", "hyperbolic"),
        (r"(^|\.)api\.nvidia\.com$", "nvidia"),
        (r"(^|\.)cloud\.ibm\.com$", "watsonx"),
        (r"(^|\.)aliyuncs\.com$", "dashscope"),
        (r"(^|\.)siliconflow\.(cn|com)$", "siliconflow"),
        (r"(^|\.)router\.huggingface\.co$", "huggingface"),
    )
)


# Sellers whose models genai-prices and LiteLLM's table price differently in more than 5 % of the names that both have
# (input, output or the fee of a request). What genai-prices alone has there is an estimate. Differences on Bedrock and
# xAI are of one kind each, which the catalog tells by itself. A test counts them anew.
DISPUTED = frozenset("azure cloudflare deepseek fireworks mistral ovhcloud perplexity together zhipuai".split())


def is_local(provider: str | None) -> bool:
    """Whether this names a self-hosted server, which has no list price."""
    return provider is not None and any(part in provider.lower() for part in _LOCAL)


@lru_cache(maxsize=1024)
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
        return _EXACT[name] or None
    return next((known for part, known in _PARTS if part in name), None)


def known_sellers() -> frozenset[str]:
    """The ids and spellings of sellers that are known without the lists, which take long to load."""
    return frozenset(filter(None, (*_EXACT, *_EXACT.values(), *(seller for _, seller in (*_PARTS, *_HOSTS)))))


# Clients of these protocols are pointed at anybody's server.
_IMITATED = ("openai", "anthropic")


@lru_cache(maxsize=1024)
def seller_of(provider: str | None, host: str | None) -> str | None:
    """Who bills a call: the seller behind ``host`` if that is a known one, else ``provider`` as it was named.

    A client of OpenAI's can talk to anybody: ``ChatOpenAI(base_url="https://api.groq.com/openai/v1")``. At a host that
    nobody knows the seller of OpenAI's and Anthropic's client is that host. A server on this machine (a test, or a
    proxy that forwards) says nothing about the seller.
    """
    if not host:
        return provider
    known = provider_id(provider)
    found = next((seller for pattern, seller in _HOSTS if pattern.search(host)), None)
    if found is not None:
        return provider if found == known else found
    return host if known in _IMITATED and not _is_this_machine(host) else provider


def _is_this_machine(host: str) -> bool:
    return host in ("localhost", "::1", "0.0.0.0") or host.startswith("127.") or host.endswith(".localhost")  # noqa: S104
