"""The names under which a model is looked up at a seller: prefixes of clouds and gateways, regions, resource names.

A model is asked for as ``bedrock/us-east-1/anthropic.claude-v2``, ``eu.anthropic.claude-…``, an ARN,
``azure/eu/gpt-4o``, ``publishers/google/models/gemini-…``, ``accounts/fireworks/models/…``, ``openai/gpt-4o``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from costguard_core.pricing.providers import provider_id

# What gateways and LiteLLM write before a model's name to say who sells it. Names that merely begin like a maker's
# ("deepseek-ai/…", "meta-llama/…" on Hugging Face) say who made it, which is somebody else.
SELLER_PREFIXES = frozenset(
    (
        "openai azure azure_ai anthropic bedrock bedrock_converse bedrock_mantle vertex_ai vertex_ai_beta gemini "
        "google google_genai google_vertexai mistral mistralai codestral cohere cohere_chat groq together_ai "
        "fireworks_ai deepseek perplexity xai x-ai openrouter cerebras databricks cloudflare novita moonshot "
        "moonshotai minimax voyage voyageai ollama sagemaker azure_openai aws text-completion-openai zai bigmodel meta "
        "baseten ovhcloud github_copilot elevenlabs"
    ).split()
)
# Clients and gateways that can stand before any seller.
_NEUTRAL = frozenset("litellm chatlitellm litellm_proxy langchain openai_like openailike custom custom_openai".split())
# Sellers that LiteLLM's price table names (1.110) and genai-prices does not have: their prices are their own.
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
_RESOURCE = re.compile(r"^arn:aws[^:]*:(?:bedrock|sagemaker):([a-z0-9-]*):[^/]*?([a-z-]+)/")
_OPAQUE = re.compile(r":(application-inference-profile|provisioned-model|custom-model|imported-model)/")
_PATHS = re.compile(r"^(?:models/|projects/[^/]+/locations/[^/]+/)?(?:publishers/([^/]+)/models/)?")
# https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
_AWS_REGION = re.compile(r"^(?:us-gov|us|eu|apac|ap|ca|sa|jp|au|me|af|il|global)\.")
_AWS_PLACE = re.compile(r"^([a-z]{2}(?:-gov)?-[a-z]+-\d)/")
_AWS_ROUTE = re.compile(r"^(?:(?:invoke|converse|converse_like|openai|bedrock|bedrock_converse)/)+")
_AWS_COMMITTED = re.compile(r"(^|/)\d+-month-commitment/")  # bought by the hour: no token has a price
# Where the price lists have the price that they give without naming a region: https://aws.amazon.com/bedrock/pricing/
_AWS_BASE = frozenset(("us-east-1", "us-west-2"))
# https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/: global deployments cost the price of
# OpenAI, those of a data zone or a region a tenth more, but of some newer models a fifth more: where no list has the
# zone's own price, the tenth is an estimate.
_AZURE_ZONE = re.compile(r"^(eu|us|us-gov|ap|apac|regional|data-?zone(?:-standard)?)/")
_AZURE_GLOBAL = re.compile(r"^(?:global(?:-standard)?|standard)/")
_ZONE_PERCENT = 10
_SNAPSHOT = re.compile(r"[-@]20\d{2}-?[01]\d-?[0-3]\d$")
_TUNED = re.compile(r"^(ft:[^:]+)(?::|$)")  # https://platform.openai.com/docs/pricing: by the model that was tuned
_AZURE_TUNED = ".ft-"
_MODELS_OF_FIREWORKS = "accounts/fireworks/models/"

# What LiteLLM's table calls a seller, where that differs from genai-prices' id. Some sell in two places, at prices that
# may differ; who says "google" means either.
_TABLES: dict[str, tuple[str, ...]] = {
    "google": ("gemini", "vertex_ai"),
    "azure": ("azure", "azure_ai"),
    "aws": ("aws", "bedrock_mantle", "amazon_nova"),
    "github-copilot": ("github_copilot",),
    "lambda": ("lambda_ai",),
    "ibm": ("watsonx",),
    "sambanovacloud": ("sambanova",),
}
_SOURCES = {"vertex_ai": "google", "gemini": "google", "azure_ai": "azure", "bedrock_mantle": "aws"}


class Lookup(NamedTuple):
    """One place to look a model up.

    Attributes:
        seller: the price list's id of who sells it; ``None``: any seller of the list.
        name: the model's name there.
        surcharge: percent that is added to its price.
        guess: nobody in the list was named as the seller, so the price is whose model it is, and a guess.
        tables: what LiteLLM's table calls the seller.
        exact: only an entry of exactly this name counts, because a similar one has another price.
        uncertain: a part of the name that may change the price (a region, a zone) has been left out.
    """

    seller: str | None
    name: str
    surcharge: int = 0
    guess: bool = False
    tables: tuple[str, ...] = ()
    exact: bool = False
    uncertain: bool = False


def lookups(
    model: str, provider: str | None, listed: Container[str], whose: Callable[[str], str | None] = lambda _: None
) -> Iterator[Lookup]:
    """Where to look for a price, nearest first: at the seller that is named, and nowhere else.

    ``listed`` are the sellers of the price lists. Where no provider is named (or one that stands for any, as LiteLLM
    does), a prefix of the model's name may name the seller, or ``whose`` may know who sells a model of this name.
    Where a provider is named that nobody knows (LangChain makes such names of class names), the price of the model's
    maker is a guess; a seller that is known to have prices of its own, but not in the list, yields nothing.
    """
    if _OPAQUE.search(model):
        return  # an ARN that says nothing of the model behind it
    name, publisher = _plain(model)
    seller, said_by = _named(provider, listed), provider
    prefix, _, rest = name.partition("/")
    said = prefix.lower() if rest else ""
    prefixed = bool(said) and (said in SELLER_PREFIXES or said in OTHER_SELLERS or said == seller)
    if seller is None and prefixed:
        seller, name, said_by = _named(said, listed) or said, rest, said
        yield Lookup(seller, f"{said}/{rest}", tables=table_sellers(said, seller), exact=True)
    elif prefixed and _named(said, listed) == seller:
        yield from _at(seller, name, provider)  # OpenRouter's "openrouter/auto", Groq's "groq/compound"
        name = rest
    if seller is None and (owner := whose(name)) is not None:
        yield Lookup(_SOURCES.get(owner, owner), name, tables=(owner,), exact=True)
    if seller is None or seller in listed:
        if publisher is not None:
            yield Lookup(seller, f"{publisher}/{name}", tables=table_sellers(said_by, seller), exact=True)
        yield from _at(seller, name, said_by)
        if seller is None and rest and not prefixed and said in listed:
            yield Lookup(said, rest, tables=table_sellers(said, said))
    elif seller not in OTHER_SELLERS:
        yield Lookup(None, rest if prefixed and rest else name, guess=True)


def table_sellers(provider: str | None, seller: str | None) -> tuple[str, ...]:
    """What LiteLLM's table calls the seller that ``provider`` names, nearest first."""
    said = (provider or "").lower()
    if seller == "google" and "vertex" in said:
        return ("vertex_ai",)
    if seller == "google" and ("gemini" in said or "genai" in said):
        return ("gemini",)
    if seller == "azure" and ("azure_ai" in said or "azureai" in said):
        return ("azure_ai", "azure")
    if seller == "aws" and "mantle" in said:
        return ("bedrock_mantle", "aws")
    return () if seller is None else _TABLES.get(seller, (seller,))


def _plain(model: str) -> tuple[str, str | None]:
    """A model's name without what cloud paths put before it, and the publisher that a path names."""
    arn = _RESOURCE.match(model)
    if arn is not None:
        name = model[arn.end() :]
        placed = arn[1] and arn[2] == "foundation-model"  # a profile's name says where it runs, its ARN where it is
        return (f"{arn[1]}/{name}" if placed else name), None
    path = _PATHS.match(model)
    return (model, None) if path is None else (model[path.end() :], path[1])


def _named(provider: str | None, listed: Container[str]) -> str | None:
    """The seller that a provider's name stands for, ``None`` for one that stands for any."""
    if not provider or provider.lower() in _NEUTRAL:
        return None
    name = provider.lower().strip()
    return name if name in OTHER_SELLERS and name not in listed else provider_id(provider) or name


def _at(seller: str | None, name: str, said: str | None) -> Iterator[Lookup]:
    """The name as it is, then without the date of a snapshot, which costs what the model costs."""
    yield from _spelled(seller, name, said)
    undated = _SNAPSHOT.sub("", name)
    if undated != name:
        yield from (lookup._replace(exact=True) for lookup in _spelled(seller, undated, said))


def _spelled(seller: str | None, name: str, said: str | None) -> Iterator[Lookup]:
    tables = table_sellers(said, seller)
    if seller == "aws":
        yield from _at_aws(name, tables)
    elif seller == "azure":
        zone = _AZURE_ZONE.match(name)
        yield Lookup(seller, name, tables=tables, exact=True)
        plain = _AZURE_GLOBAL.sub("", _AZURE_ZONE.sub("", name))
        unsure = _AZURE_TUNED in name or zone is not None
        yield Lookup(seller, plain, _ZONE_PERCENT if zone else 0, tables=tables, uncertain=unsure)
    elif seller == "google":
        yield Lookup(seller, name, tables=tables)
        if "/" in name:
            yield Lookup(seller, name.rpartition("/")[2], tables=tables)
        if "@" in name:
            yield Lookup(seller, name.rpartition("/")[2].replace("@", "-"), tables=tables)
    elif seller == "fireworks" and "/" not in name:
        yield Lookup(seller, name, tables=tables, exact=True)
        yield Lookup(seller, _MODELS_OF_FIREWORKS + name, tables=tables, exact=True)
        yield Lookup(seller, name)
    elif tuned := _TUNED.match(name):
        yield Lookup(seller, tuned[1], tables=tables or ("openai",), exact=True)
        yield Lookup(seller, name)
    else:
        yield Lookup(seller, name, tables=tables)


def _at_aws(name: str, tables: tuple[str, ...]) -> Iterator[Lookup]:
    if _AWS_COMMITTED.search(name):
        return
    name = _AWS_ROUTE.sub("", name)
    yield Lookup("aws", name, tables=tables, exact=True)
    place = _AWS_PLACE.match(name)
    placed = name[place.end() :] if place else name
    elsewhere = place is not None and place[1] not in _AWS_BASE
    plain = _AWS_REGION.sub("", placed)
    yield Lookup("aws", placed, tables=tables, exact=plain != placed, uncertain=elsewhere)
    if plain != placed:
        yield Lookup("aws", plain, tables=tables, uncertain=True)
