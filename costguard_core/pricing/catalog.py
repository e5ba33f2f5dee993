"""List prices, from genai-prices and from LiteLLM's table, compiled once per model, service tier and period."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from costguard_core.pricing.genai_list import is_exactly, listing_of, newest_price
from costguard_core.pricing.listing import ALWAYS, Listing, completed, dearest, differences
from costguard_core.pricing.names import Lookup, lookups
from costguard_core.pricing.overrides import TIER_KEYS, at_tier, read_rates
from costguard_core.pricing.price_table import PriceTable, TablePrices, bundled_table
from costguard_core.pricing.providers import DISPUTED, is_local, provider_id
from costguard_core.pricing.rate_card import RateCard, Rates
from costguard_core.pricing.stand_ins import stand_ins
from costguard_core.usage.fields import RESERVED
from costguard_core.usage.openai import searches_always
from costguard_core.util.lru import LRUMap

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, Provider

# Sellers that bill a tier at their standard price, and where they say so.
_TIERS_BY_CONTRACT = frozenset((("anthropic", "priority"),))  # bought ahead: platform.claude.com, "Service tiers"
_TIERS_AT_STANDARD = _TIERS_BY_CONTRACT | {("groq", "flex")}  # https://console.groq.com/docs/flex-processing
# Sellers whose cards name every modality that costs more than text; others leave prices of sound out that exist.
_LISTS_SOUND = frozenset(("google",))
# https://platform.openai.com/docs/pricing: 1,000 searches with the preview tool are $25 for models that do not think,
# and $10 with the newer tool. No list tells the tools apart.
_PREVIEW_SEARCH = Fraction(15, 1000)
# Makers whose models nobody else sells at prices of their own, and names of theirs that everybody sells.
_MAKERS = frozenset(("openai", "anthropic", "google", "x-ai", "cohere", "perplexity"))
_OPEN_WEIGHTS = re.compile(r"gpt-oss|gemma|grok-(1|2)($|[^\d])|whisper|r1-1776|c4ai|aya")
# genai-prices has the entry of Bedrock's regional endpoints (a tenth above the global ones) under the bare name and
# under GovCloud's, too, which LiteLLM's table has at other prices.
_AWS_REGIONAL = "regional."
_AWS_IN_REGION = re.compile(r"(?:regional|us|eu|apac|ap|ca|sa|jp|au|me|af|il)\.")

_MAX_MODELS = 4096  # names come from outside: no more are remembered


class Span(NamedTuple):
    """A rate card (``None``: no known price) and the unix seconds ``since <= t < until`` in which it holds.

    Attributes:
        since, until: the period.
        card: the prices.
        guess: they are those of the model's maker, because nobody in the lists was named as the seller, or the lists
            have no price of that seller's own; or a part of the name that may change the price was left out; or two
            lists differ by more than 1 %; or only one has the name, and it differs from the other on this seller.
        has_tier: the card is for the service tier that was asked for; else it is for the standard one.
        source: whose list it is, and which version.
    """

    since: float
    until: float
    card: RateCard | None
    guess: bool = False
    has_tier: bool = True
    source: str | None = None


class _Match(NamedTuple):
    """Where a model was found: in one source or in both."""

    lookup: Lookup
    seller: Provider | None
    info: ModelInfo | None
    tabled: TablePrices | None


class ListAge(NamedTuple):
    """How old a price list is.

    Attributes:
        source: whose list it is, and which version.
        taken: the day of which it is; ``None``: it does not say.
        newest: the latest day on which a price in it began; it is not older than this.
        models: how many models it has.
    """

    source: str
    taken: date | None
    newest: date | None
    models: int


class Opinion(NamedTuple):
    """What the lists say of a model, and what is made of it.

    Attributes:
        listing: the prices that are used.
        guess: why they are an estimate, in words; ``None``: they are list prices.
        sources: what each source says.
        differing: rates on which the sources differ by more than 1 %.
        seller: the list's id of who sells it.
        claude: it is one of Anthropic's models, which bill only those writes to the cache that were asked for.
        surcharge: percent that is added, for the place where the model runs.
    """

    listing: Listing
    guess: str | None
    sources: tuple[Listing, ...]
    differing: tuple[str, ...]
    seller: str
    claude: bool
    surcharge: int


class Catalog:
    """The price data in force: genai-prices and LiteLLM's table.

    genai-prices knows when a price began, so it is preferred where both say the same. Where they differ by more than
    1 %, an entry of exactly the name that was asked for beats one of a similar name; where both have exactly this
    name, the dearer price is charged as an estimate, unless genai-prices was updated since
    (``genai_prices.UpdatePrices``), which is followed.

    Args:
        discounts: fraction off list prices by seller.
        table: gives LiteLLM's table; ``None``: prices come from genai-prices alone.

    Attributes:
        snapshot: the data of genai-prices that is used.
        newest: gives what genai-prices published last. Where that is another, :meth:`refresh` takes it.
    """

    def __init__(
        self, discounts: Mapping[str, Fraction], table: Callable[[], PriceTable] | None = bundled_table
    ) -> None:
        from genai_prices.data_snapshot import get_snapshot

        self.newest = get_snapshot
        self._discounts = discounts
        self._table = None if table is None else table()
        self.refresh()

    def refresh(self) -> None:
        """Use the newest data from now on."""
        self.snapshot: DataSnapshot = self.newest()
        self._context: LRUMap[tuple[str, str | None], int | None] = LRUMap(_MAX_MODELS)
        self._listed = frozenset(seller.id for seller in self.snapshot.providers)
        self._sellers = self._listed if self._table is None else self._listed | self._table.sellers
        from importlib.metadata import version  # takes longer to import than this module

        self.source = f"genai-prices {version('genai-prices')}"
        if self.snapshot.from_auto_update:
            self.source = f"genai-prices of {self.snapshot.timestamp.date().isoformat()}"

    def span(self, model: str, provider: str | None, tier: str | None, at: float) -> Span:
        """The price of a model at a time, with the period in which nothing about it changes."""
        found = self.opinion(model, provider, tier, at)
        if found is None:
            return Span(*ALWAYS, None)
        listing = found.listing
        by_contract = tier == RESERVED or (found.seller, tier) in _TIERS_BY_CONTRACT
        return Span(
            listing.since,
            listing.until,
            self._card(found),
            found.guess is not None or by_contract,
            listing.has_tier or (found.seller, tier) in _TIERS_AT_STANDARD,
            listing.source,
        )

    def opinion(self, model: str, provider: str | None, tier: str | None, at: float) -> Opinion | None:
        """What each list says of a model at a service tier and a time, and which prices follow; ``None``: nothing."""
        if _is_free_variant(model, provider):
            listing = Listing("openrouter.ai", {"input": Fraction(0), "output": Fraction(0)})
            return Opinion(listing, None, (listing,), (), "openrouter", claude=False, surcharge=0)
        match = self._find(model, provider)
        agreed = None if match is None else self._agreed(match, tier, at)
        if match is None or agreed is None:
            return None
        listing, guess, sources, differing = agreed
        lookup = match.lookup
        seller = match.seller.id if match.seller is not None else lookup.seller or lookup.tables[0]
        if lookup.guess:
            guess = f"the price of its maker, {seller}: the seller is not known"
        elif lookup.uncertain and guess is None:
            guess = f"the price of {lookup.name} at {seller}: no list has exactly what was asked for"
        elif guess is None and not any(source.exact for source in sources):
            named = lookup.name if match.info is None else match.info.id
            guess = f"the price of {named}: no list has {lookup.name} itself"
        elif guess is None and match.tabled is not None and match.tabled.is_off_peak(at):
            guess = "the price of an off-peak hour: the seller decides by its own clock, when the answer ends"
        elif guess is None and match.tabled is None:
            guess = self._doubt(match, at)
        elif guess is None and match.tabled is not None and (missing := match.tabled.missing_at(tier, at)):
            guess = f"no list has what {' and '.join(missing)} costs at {tier}: its price at the standard tier"
        claude = seller == "anthropic" or "claude" in (lookup.name if match.info is None else match.info.id).lower()
        return Opinion(listing, guess, sources, differing, seller, claude, lookup.surcharge)

    def _doubt(self, match: _Match, at: float) -> str | None:
        """Why the price of genai-prices alone, for exactly this name, may not be what this seller asks here."""
        seller, info, name = match.seller, match.info, match.lookup.name
        if seller is None or info is None:
            return None
        if not any(info is own for own in seller.models):
            return f"the price of its maker: no list has what {seller.id} asks for {info.id}"
        if info.id.startswith(_AWS_REGIONAL):
            elsewhere = not _AWS_IN_REGION.match(name)
            return f"the price of a regional endpoint, {info.id}: no list has {name} itself" if elsewhere else None
        if match.lookup.tables == ("vertex_ai",) and "gemini" in name.lower():
            return f"{self.source} has one price for Vertex AI and the Gemini API, and no list has Vertex AI's own"
        if (other := self._other_price(match, at)) is not None:
            return f"{other} is the same model by {self.source}, and has another price in the other list"
        if seller.id in DISPUTED and not self.snapshot.from_auto_update:
            return f"only {self.source} has it, and it differs from the other list on models of {seller.id}"
        return None

    def _other_price(self, match: _Match, at: float) -> str | None:
        """Another name of the same model, by genai-prices, whose price in LiteLLM's table differs by more than 1 %."""
        info = match.info
        if info is None or self._table is None:
            return None
        for name in self._table.names_at(match.lookup.tables):
            if not info.is_match(name):
                continue
            tabled = self._table.find(match.lookup.tables, name)
            other = match._replace(lookup=match.lookup._replace(name=name), tabled=tabled)
            moment = max(at, self._table.taken)
            listed, told = self._of_list(other, None, moment), self._of_table(other, None, moment)
            steps = listed is not None and told is not None and told.above and not listed.above
            if steps or _disagreeing(listed, told, name):
                return name
        return None

    def ages(self, now: float) -> tuple[ListAge, ...]:
        """Of which day each list is, as far as it says so."""
        updated = self.snapshot.from_auto_update
        day = self.snapshot.timestamp.date() if updated else None
        newest = newest_price(self.snapshot, now)
        ages = [ListAge(self.source, day, newest, sum(len(p.models) for p in self.snapshot.providers))]
        if self._table is not None:
            taken = datetime.fromtimestamp(self._table.taken, UTC).date()
            ages.append(ListAge(self._table.source, taken, taken, sum(1 for _ in self._table.names())))
        return tuple(ages)

    def names(self) -> Iterator[str]:
        """The names of all models of the lists, as ``seller/model``; some twice."""
        for seller in self.snapshot.providers:
            for model in seller.models:
                yield f"{seller.id}/{model.id}"
        if self._table is not None:
            for owner, name in self._table.names():
                yield f"{owner}/{name}"

    def context_tokens(self, model: str, provider: str | None) -> int | None:
        """How many tokens prompt and answer of a model may have together."""
        found = self._context.get((model, provider), 0)
        if found == 0:
            entry = self._find(model, provider)
            found = None if entry is None or entry.info is None else entry.info.context_window
            self._context.put((model, provider), found)
        return found

    def _find(self, model: str, provider: str | None) -> _Match | None:
        """The nearest entry of exactly one of the names, else the nearest one of a similar name."""
        if is_local(provider):
            return None
        similar, tried = None, []
        whose = self._table.seller_of if self._table is not None else lambda _: None
        for lookup in lookups(model, provider, self._sellers, whose):
            tried.append(lookup)
            tabled = None if self._table is None else self._table.find(lookup.tables, lookup.name)
            seller, info = self._listed_model(lookup)
            if lookup.guess and info is None and (match := self._of_maker(lookup)) is not None:
                return match
            exact = info is not None and is_exactly(info, lookup.name)
            if lookup.exact and not exact:
                seller = info = None
            if tabled is not None or exact:
                return _Match(lookup, seller, info, tabled)
            if info is not None and similar is None:
                similar = _Match(lookup, seller, info, None)
        return similar or self._stand_in(tried)

    def _stand_in(self, tried: Sequence[Lookup]) -> _Match | None:
        """An entry whose price is an estimate of what the model costs where it was looked up."""
        if self._table is None:
            return None
        for lookup in stand_ins(tried, self._table.names_at):
            tabled = self._table.find(lookup.tables, lookup.name)
            seller, info = self._listed_model(lookup)
            exact = info is not None and is_exactly(info, lookup.name)
            if tabled is not None or exact:
                return _Match(lookup, seller if exact else None, info if exact else None, tabled)
        return None

    def _of_maker(self, lookup: Lookup) -> _Match | None:
        """What the table has of a model that is its maker's alone, where nobody that a list knows was named."""
        owner = None if self._table is None else self._table.seller_of(lookup.name)
        if self._table is None or owner not in _MAKERS or _OPEN_WEIGHTS.search(lookup.name.lower()):
            return None
        made = lookup._replace(seller=owner, tables=(owner,))
        return _Match(made, None, None, self._table.find(made.tables, made.name))

    def _listed_model(self, lookup: Lookup) -> tuple[Provider, ModelInfo] | tuple[None, None]:
        if lookup.seller is not None and lookup.seller not in self._listed:
            return None, None
        try:
            seller, info = self.snapshot.find_provider_model(lookup.name, None, lookup.seller, None)
        except LookupError:
            return None, None
        if lookup.guess and (seller.id not in _MAKERS or _OPEN_WEIGHTS.search(info.id.lower())):
            return None, None
        return seller, info

    def _agreed(
        self, match: _Match, tier: str | None, at: float
    ) -> tuple[Listing, str | None, tuple[Listing, ...], tuple[str, ...]] | None:
        """The prices that follow from the sources, why they are a guess, the sources, and where they differ."""
        listed, tabled = self._of_list(match, tier, at), self._of_table(match, tier, at)
        if listed is None or tabled is None:
            only = listed or tabled
            return None if only is None else (only, None, (only,), ())
        assert self._table is not None
        sources, since = (listed, tabled), max(at, self._table.taken)  # nobody knows what the table said before
        differing = self._differing(match, None, since) or self._differing(match, tier, since)
        until = self._table.taken if at < self._table.taken else ALWAYS[1]
        begin = ALWAYS[0] if at < self._table.taken else self._table.taken
        begin, until = max(listed.since, tabled.since, begin), min(listed.until, tabled.until, until)
        preferred, other = (tabled, listed) if tabled.has_tier > listed.has_tier else (listed, tabled)
        if not differing or (self.snapshot.from_auto_update and listed.exact):
            return completed(preferred, other)._replace(since=begin, until=until), None, sources, differing
        if not listed.exact:
            return tabled._replace(since=begin, until=until), None, sources, differing
        why = f"{listed.source} and {tabled.source} differ by more than 1 %: {', '.join(differing)}"
        if listed.has_tier != tabled.has_tier:
            return preferred._replace(since=begin, until=until), why, sources, differing
        return dearest(listed, tabled)._replace(since=begin, until=until), why, sources, differing

    def _differing(self, match: _Match, tier: str | None, at: float) -> tuple[str, ...]:
        return _disagreeing(self._of_list(match, tier, at), self._of_table(match, tier, at), match.lookup.name)

    def _of_list(self, match: _Match, tier: str | None, at: float) -> Listing | None:
        """What genai-prices says; ``None``: nothing that can price a call."""
        if match.seller is None or match.info is None:
            return None
        return listing_of(match.seller, match.info, match.lookup.name, tier, at, self.source)

    def _of_table(self, match: _Match, tier: str | None, at: float) -> Listing | None:
        """What LiteLLM's table says; ``None``: nothing."""
        if match.tabled is None or self._table is None:
            return None
        prices, since, until = match.tabled.at(at)
        special = prices.get(tier) if tier in TIER_KEYS else None
        flat = at_tier(prices, special or {})
        base, above = read_rates(match.lookup.name, flat)
        has_tier = tier not in TIER_KEYS or special is not None
        return Listing(self._table.source, base, above, has_tier, since=since, until=until)

    def _card(self, found: Opinion) -> RateCard:
        share = 1 - self._discounts.get(found.seller, self._discounts.get("*", Fraction(0)))
        share *= Fraction(100 + found.surcharge, 100)
        base, *cliffs = (
            (start, _rates(found.listing.at(start), share, found.seller))
            for start in (-1, *sorted(found.listing.above))
        )
        return RateCard.of(base[1], dict(cliffs), implicit_writes=not found.claude)


def _is_free_variant(model: str, provider: str | None) -> bool:
    """Whether OpenRouter gives a model away: https://openrouter.ai/docs/faq, "free variants"."""
    if not model.lower().endswith(":free"):
        return False
    return provider_id(provider) == "openrouter" or (not provider and model.lower().startswith("openrouter/"))


def _disagreeing(listed: Listing | None, tabled: Listing | None, name: str) -> tuple[str, ...]:
    """Where both lists have prices of this model and differ."""
    if listed is None or tabled is None or listed.has_tier != tabled.has_tier:
        return ()
    return differences(listed, tabled, searches=searches_always(name))


def _rates(prices: Mapping[str, Fraction], share: Fraction, seller: str) -> Rates:
    if seller == "openai" and "web_search" in prices:
        prices = {"preview_search": _PREVIEW_SEARCH, **prices}
    modalities = {"image_output"} if seller in _LISTS_SOUND else {"image_output", "audio_input", "audio_output"}
    return Rates.of({name: price * share for name, price in prices.items()}, frozenset(modalities - prices.keys()))
