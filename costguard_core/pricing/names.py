"""The names under which a model is looked up at a seller: prefixes of clouds and gateways, regions, resource names.

A model is asked for as ``bedrock/us-east-1/anthropic.claude-v2``, ``eu.anthropic.claude-…``, an ARN,
``azure/eu/gpt-4o``, ``publishers/google/models/gemini-…``, ``accounts/fireworks/models/…``, ``openai/gpt-4o``.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import NamedTuple

from costguard_core.pricing.providers import provider_id

# What gateways and LiteLLM write before a model's name to say who sells it. Names that merely begin like a maker's
# ("deepseek-ai/…", "meta-llama/…" on Hugging Face) say who made it, which is somebody else.
SELLER_PREFIXES = frozenset(
    (
        "openai azure azure_ai anthropic bedrock bedrock_converse bedrock_mantle vertex_ai vertex_ai_beta gemini "
        "google google_genai google_vertexai mistral mistralai codestral cohere cohere_chat groq together_ai "
        "fireworks_ai deepseek perplexity xai x-ai openrouter cerebras databricks cloudflare novita moonshot "
        "moonshotai minimax voyage voyageai ollama sagemaker azure_openai aws text-completion-openai"
    ).split()
)
# Clients and gateways that can stand before any seller.
_NEUTRAL = frozenset("litellm chatlitellm litellm_proxy langchain openai_like openailike custom custom_openai".split())
# Sellers that LiteLLM's price table names (1.110) and the bundled list does not have: their prices are their own.
OTHER_SELLERS = frozenset(
    (
        "ai21 aiand aihubmix aiml amazon_nova anyscale bespoke bytez clf_ai_gateway cloudflare_ai_gateway "
        "cognition compactifai coralbricks crusoe darkbloom dashscope deepgram deepinfra empiriolabs fal_ai "
        "featherless_ai friendliai galadriel gigachat gmi gradient_ai heroku hostinger_router hyperbolic inception "
        "inferenceapis jina_ai kyma lambda lambda_ai laya lemonade libertai llamagate meta_llama morph nebius "
        "nlp_cloud nscale nvidia nvidia_nim nvidia_ai_endpoints oci opencode_go openinfer palm predibase publicai "
        "qwencloud qwen_ai_platform recraft replicate runwayml sail sambanova sambanovacloud sarvam scaleway "
        "siliconflow snowflake stability streamlake targon tencent tensormesh upstage v0 vercel_ai_gateway "
        "volcengine wandb watsonx writer xiaomi_mimo huggingface huggingface_hub huggingface_endpoint tongyi qwen "
        "baichuan zhipu sparkllm yuan2 premai octoai ibm"
    ).split()
)
_RESOURCE = re.compile(r"^arn:aws[^:]*:(?:bedrock|sagemaker)[^/]*/")
_OPAQUE = re.compile(r":(application-inference-profile|provisioned-model|custom-model|imported-model)/")
_PATHS = re.compile(r"^(?:models/|projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/models/)?")
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_AWS_REGION = re.compile(r"^(?:us-gov|us|eu|apac|ap|ca|sa|jp|au|me|af|il|global)\.")
_AWS_PLACE = re.compile(r"^(?:\d+-month-commitment/|[a-z]{2}(?:-gov)?-[a-z]+-\d/|(?:invoke|converse|converse_like)/)+")
# https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/: global deployments cost the price of
# OpenAI, those of a data zone or a region a tenth more.
_AZURE_ZONE = re.compile(r"^(eu|us|us-gov|ap|apac|regional|data-?zone(?:-standard)?)/")
_AZURE_GLOBAL = re.compile(r"^(?:global(?:-standard)?|standard)/")
_ZONE_PERCENT = 10


class Lookup(NamedTuple):
    """One place to look a model up.

    Attributes:
        seller: the price list's id of who sells it; ``None``: any seller of the list.
        name: the model's name there.
        surcharge: percent that is added to its price.
        guess: nobody in the list was named as the seller, so the price is whose model it is, and a guess.
    """

    seller: str | None
    name: str
    surcharge: int = 0
    guess: bool = False


def lookups(model: str, provider: str | None, listed: Container[str]) -> Iterator[Lookup]:
    """Where to look for a price, nearest first: at the seller that is named, and nowhere else.

    ``listed`` are the sellers of the price list. Where no provider is named (or one that stands for any, as LiteLLM
    does), a prefix of the model's name may name the seller. Where a provider is named that nobody knows (LangChain
    makes such names of class names), the price of the model's maker is a guess; a seller that is known to have prices
    of its own, but not in the list, yields nothing.
    """
    if _OPAQUE.search(model):
        return  # an ARN that says nothing of the model behind it
    name = _PATHS.sub("", _RESOURCE.sub("", model))
    seller = _named(provider, listed)
    prefix, _, rest = name.partition("/")
    said = prefix.lower() if rest else ""
    prefixed = said in SELLER_PREFIXES or said in OTHER_SELLERS
    if seller is None and prefixed:
        seller, name = _named(said, listed) or said, rest
    elif prefixed and _named(said, listed) == seller:
        yield from _at(seller, name)  # OpenRouter's "openrouter/auto", Groq's "groq/compound"
        name = rest
    if seller is None or seller in listed:
        yield from _at(seller, name)
        if seller is None and rest and not prefixed and said in listed:
            yield Lookup(said, rest)
    elif seller not in OTHER_SELLERS:
        yield Lookup(None, rest if prefixed and rest else name, guess=True)


def _named(provider: str | None, listed: Container[str]) -> str | None:
    """The seller that a provider's name stands for, ``None`` for one that stands for any."""
    if not provider or provider.lower() in _NEUTRAL:
        return None
    name = provider.lower().strip()
    return name if name in OTHER_SELLERS and name not in listed else provider_id(provider) or name


def _at(seller: str | None, name: str) -> Iterator[Lookup]:
    if seller == "aws":
        placed = _AWS_PLACE.sub("", name)
        yield Lookup(seller, placed)
        if (plain := _AWS_REGION.sub("", placed)) != placed:
            yield Lookup(seller, plain)
    elif seller == "azure":
        zone = _AZURE_ZONE.match(name)
        yield Lookup(seller, _AZURE_GLOBAL.sub("", _AZURE_ZONE.sub("", name)), _ZONE_PERCENT if zone else 0)
    elif seller == "google":
        yield Lookup(seller, name)
        if "/" in name:
            yield Lookup(seller, name.rpartition("/")[2])
        if "@" in name:
            yield Lookup(seller, name.rpartition("/")[2].replace("@", "-"))
    else:
        yield Lookup(seller, name)
