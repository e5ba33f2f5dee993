"""Whose price stands in for a model that no list has at its seller. What is found here is always an estimate.

Each rule has a source: what the seller itself says of its prices, or that two names are one model. There is none for
models with open weights at a seller that names no such rule, because each seller asks what it likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache

from costguard_core.pricing.names import Lookup

# Other names of one model: dates of snapshots, numbers of versions, and what stands for the newest of them.
_VERSION = re.compile(r"[-@:](?:latest|nightly|preview|v\d+:\d+|20\d{2}-?[01]\d-?[0-3]\d|\d{4}|\d{3})$")
_BETWEEN = re.compile(r"-(?:latest|beta|preview|experimental|\d{4})(?=-|$)")
_PUNCTUATION, _POINT_ZERO = re.compile(r"[-_.@:]"), re.compile(r"(?<=v\d)-0$")
_MAKER, _NOTHING = re.compile(r"^[a-z][a-z0-9]*\.(?=[a-z])"), re.compile(r"(?!)")
_DOTTED = re.compile(r"(?<=\d)-(?=\d{1,2}(?:-|$))")

# Parameters in a model's name, in thousand millions: "8b", "1p5b" (Fireworks writes a point so), "8x22b".
_SIZE = re.compile(r"(?:^|[-_/x])(?:(\d+)x)?(\d+(?:[.p]\d+)?)b(?=$|[-_.:/])")
_ACTIVE = re.compile(r"-a\d+(?:[.p]\d+)?b(?=$|[-_.:/])")
# Fireworks prices models without a price of their own by their size (https://fireworks.ai/pricing, "Serverless
# pricing"), and LiteLLM's table has an entry for each class. Together's classes are not used: of the 18 models that
# they would price and the table knows, 3 cost that.
_BY_SIZE = "fireworks"
_DENSE = ((4, "fireworks-ai-up-to-4b"), (16, "fireworks-ai-4.1b-to-16b"), (176, "fireworks-ai-above-16b"))
_EXPERTS = ((56, "fireworks-ai-moe-up-to-56b"), (176, "fireworks-ai-56b-to-176b"))

# Sellers that bill other makers' closed models at the maker's own price:
# - Perplexity, https://docs.perplexity.ai/docs/agent-api/models ("at direct provider rates with no markup")
# - Databricks, https://www.databricks.com/product/pricing/proprietary-foundation-model-serving
# - clouds, of which each maker says so: https://cloud.google.com/vertex-ai/generative-ai/pricing#partner-models,
#   https://azure.microsoft.com/pricing/details/ai-foundry-models/, https://aws.amazon.com/bedrock/pricing/
_AT_MAKERS_PRICE = frozenset(("perplexity", "databricks", "google", "azure", "aws"))
_MAKERS = {
    "openai": "openai", "anthropic": "anthropic", "google": "google", "xai": "x-ai", "cohere": "cohere", "ai21": "ai21",
    "mistral": "mistral", "mistralai": "mistral", "perplexity": "perplexity",
}  # fmt: skip
_OF_MAKER = (("grok", "x-ai"), ("codestral", "mistral"), ("mistral-large", "mistral"), ("mistral-medium", "mistral"),
             ("mistral-small", "mistral"), ("ministral", "mistral"), ("jamba", "ai21"), ("claude", "anthropic"),
             ("gpt-oss", ""), ("gpt-", "openai"), ("gemini", "google"))  # fmt: skip
# Fireworks' models on Microsoft's Foundry cost a tenth more than at Fireworks, like other models in a data zone:
# https://azure.microsoft.com/pricing/details/ai-foundry-models/
_FOUNDRY, _ZONE_PERCENT = "fw-", 10
# https://docs.aws.amazon.com/bedrock/latest/userguide/claude-platform.html: sold by AWS at Anthropic's prices.
_CLAUDE_PLATFORM = "claude_platform/"


def stand_ins(tried: Sequence[Lookup], names_at: Callable[[Iterable[str]], Iterable[str]]) -> Iterator[Lookup]:
    """Where else to look, nearest first: another name of the model, its class of size, its maker.

    Args:
        tried: where the model was looked up before.
        names_at: gives the names that sellers have.
    """
    for lookup in tried:
        aws = lookup.seller == "aws"
        for name in _other_names(lookup.name.lower(), names_at(lookup.tables), without_maker=aws):
            yield lookup._replace(name=name, exact=True, uncertain=True, guess=False)
    for lookup in tried:
        if lookup.seller == _BY_SIZE and (size := _size_class(lookup.name.lower())) is not None:
            yield Lookup(_BY_SIZE, size, tables=(_BY_SIZE,), exact=True, uncertain=True)
            break
    for lookup in tried:
        if lookup.seller in _AT_MAKERS_PRICE:
            yield from _at_maker(lookup.seller, lookup.name.lower(), names_at)


def _other_names(name: str, known: Iterable[str], *, without_maker: bool = False) -> Iterable[str]:
    """Names that a seller has of the same model: without its version or date, or with one, the newest first.

    ``without_maker``: whatever its maker is called there ("moonshot.kimi-…", "moonshotai.kimi-…").
    """
    maker = _MAKER if without_maker else _NOTHING
    bare = _compact(maker.sub("", name))
    same = sorted((one for one in known if _compact(maker.sub("", one)) == bare), reverse=True) if bare else []
    return dict.fromkeys((*sorted(same, key=len)[:1], *same))


def _bare(name: str) -> str:
    """A name without versions, dates and the words that stand for one."""
    while (shorter := _VERSION.sub("", name)) != name:
        name = shorter
    return _BETWEEN.sub("", name)


@lru_cache(1 << 14)
def _compact(name: str) -> str:
    """:func:`_bare`, with whatever mark its parts are joined: the names of one model have the same."""
    return _POINT_ZERO.sub("", _PUNCTUATION.sub("-", _bare(name)))


def _size_class(name: str) -> str | None:
    """The entry of the table that has the price of models as large as this one."""
    found = _SIZE.search(name)
    if found is None or "embed" in name:
        return None
    experts = int(found[1] or 1)
    size = experts * Fraction(found[2].replace("p", "."))
    steps = _EXPERTS if experts > 1 or _ACTIVE.search(name) else _DENSE
    return next((step for most, step in steps if size <= most), None)


def _at_maker(seller: str, name: str, names_at: Callable[[Iterable[str]], Iterable[str]]) -> Iterator[Lookup]:
    if name.startswith(_FOUNDRY):
        made = "accounts/fireworks/models/" + name.removeprefix(_FOUNDRY).replace(".", "p")
        yield Lookup("fireworks", made, _ZONE_PERCENT, tables=("fireworks",), exact=True, uncertain=True)
        return
    name = name.removeprefix("databricks-").removeprefix(_CLAUDE_PLATFORM)
    prefix, found, rest = name.partition("." if seller == "aws" else "/")
    maker = _MAKERS.get(prefix) if found else None
    bare = name if maker is None else rest
    if maker is None:
        maker = next((maker for begin, maker in _OF_MAKER if bare.startswith(begin)), None)
    if not maker:
        return
    tables = {"google": ("gemini", "vertex_ai")}.get(maker, (maker,))
    for spelling in dict.fromkeys((bare, _DOTTED.sub(".", bare), *_other_names(bare, names_at(tables)))):
        yield Lookup(maker, spelling, tables=tables, exact=True, uncertain=True)
