"""The price book: what the guard asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from time import time

from costguard_core.errors import ConfigurationError
from costguard_core.pricing.catalog import ALWAYS, PriceList, Span
from costguard_core.pricing.overrides import Overrides, Price, Prices, dollars_of, parse_sheet
from costguard_core.pricing.providers import provider_id
from costguard_core.pricing.rate_card import Ceiling, Sheet
from costguard_core.types import Usage
from costguard_core.util.lru import LRUMap

UNLIMITED_OUTPUT = 2**31 - 1
"""What :meth:`PriceBook.affordable_output` says of a model whose output is free."""

# A call made now may still be running when the price changes; providers bill at one moment of it.
_LEASE_SECONDS = 3600.0
_MAX_MODELS = 4096
_MAX_SPANS = 8


class PriceBook:
    """Prices by model, provider, service tier and time of the request. Thread-safe; never touches the network.

    A price comes from the first of: ``overrides``, the bundled list (genai-prices) less its discount, ``unpriced``.

    Args:
        overrides: ``{"my-model": {"input": "2.50", "output": "10"}}`` in dollars per million tokens (``"request"`` and
            ``"web_search"`` in dollars each). Keys are ``"model"``, ``"provider/model"`` or ``"provider:model"``. What
            is left out costs what its parent costs (``cached_input`` the ``input`` price); without ``"output"`` a call
            that produced output has an unknown cost.
        discounts: ``{"openai": "0.10"}`` takes 10 % off *list* prices; ``"*"`` is for every provider not named. An
            override is what you pay, so it is never discounted.
        unpriced: one override that prices every model nobody knows: a declared ceiling.
        clock: unix seconds now.

    Raises:
        ConfigurationError: an override, discount or ceiling that cannot be used.
    """

    def __init__(
        self,
        overrides: Mapping[str, Prices] | None = None,
        *,
        discounts: Mapping[str, Price] | None = None,
        unpriced: Prices | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self._overrides = Overrides(overrides or {})
        self._discounts = _parse_discounts(discounts or {})
        self._unpriced = None if unpriced is None else parse_sheet("unpriced", unpriced)
        self._clock = clock
        self._list: PriceList | None = None
        # Model names can come from outside: never more than this many.
        self._spans: LRUMap[tuple[str | None, str, str | None], tuple[Span, ...]] = LRUMap(_MAX_MODELS)

    def cost(self, usage: Usage, *, model: str, provider: str | None = None, at: float | None = None) -> int | None:
        """Exact nano-dollars of one call made at ``at`` (unix seconds, default now), each price line rounded up once.

        ``None`` when the price is unknown. Never negative and never raises: details larger than their total raise it.
        """
        sheet = self._sheet(model, provider, usage.tier, self._clock() if at is None else at)
        return None if sheet is None else sheet.cost(usage)

    def is_priced(
        self, model: str, provider: str | None = None, at: float | None = None, *, tier: str | None = None
    ) -> bool:
        """Whether a call would have a known cost (the ``unpriced`` ceiling counts as one)."""
        return self._sheet(model, provider, tier, self._clock() if at is None else at) is not None

    def worst_case(
        self,
        *,
        model: str,
        provider: str | None = None,
        at: float | None = None,
        tier: str | None = None,
        input_tokens: int,
        output_tokens: int,
        choices: int = 1,
        cache_writes: bool = False,
    ) -> int | None:
        """The most nano-dollars that a text call of at most these tokens can cost; ``None`` when that is unknown.

        ``output_tokens`` is per choice; input is billed once. ``cache_writes`` says that the request asks for prompt
        caching (Anthropic's ``cache_control``); providers that write their cache unasked are held at that price anyway.
        Not covered: audio or images dearer than text, and web searches.
        """
        ceilings = self._ceilings(model, provider, at, tier, input_tokens, writes=cache_writes)
        count = max(0, output_tokens) * max(1, choices)
        costs = [_at_most(ceiling, input_tokens, count) for ceiling in ceilings]
        known = [cost for cost in costs if cost is not None]
        return max(known) if known and len(known) == len(costs) else None

    def affordable_output(
        self,
        *,
        model: str,
        provider: str | None = None,
        at: float | None = None,
        tier: str | None = None,
        input_tokens: int,
        nanos: int,
        choices: int = 1,
        cache_writes: bool = False,
    ) -> int:
        """The largest ``output_tokens`` (per choice) whose :meth:`worst_case` is at most ``nanos``; 0 if none is."""
        ceilings = self._ceilings(model, provider, at, tier, input_tokens, writes=cache_writes)
        limits = (_affordable(ceiling, input_tokens, nanos, max(1, choices)) for ceiling in ceilings)
        return min(limits, default=0)

    def warm_up(self) -> None:
        """Load the price data now (about a second, once per process) instead of at the first call."""
        self._prices()

    def _ceilings(
        self,
        model: str,
        provider: str | None,
        at: float | None,
        tier: str | None,
        input_tokens: int,
        *,
        writes: bool,
    ) -> list[Ceiling | None]:
        now = self._clock() if at is None else at
        sheet = self._sheet(model, provider, tier, now)
        later = self._sheet(model, provider, tier, now + _LEASE_SECONDS)
        sheets = (sheet,) if later is sheet else (sheet, later)
        return [c for s in sheets if s is not None for c in s.ceilings(input_tokens, cache_writes=writes)]

    def _sheet(self, model: str, provider: str | None, tier: str | None, at: float) -> Sheet | None:
        if self._list is not None and not self._list.is_current():
            self._spans.clear()
            self._list.refresh()
        for span in self._spans.get((provider, model, tier), ()):
            if span.since <= at < span.until:
                return span.sheet
        return self._compile(model, provider, tier, at)

    def _compile(self, model: str, provider: str | None, tier: str | None, at: float) -> Sheet | None:
        declared = self._overrides.find(model, provider)
        span = Span(*ALWAYS, declared) if declared else self._prices().span(model, provider, tier, at)
        if span.sheet is None:
            span = span._replace(sheet=self._unpriced)
        known = self._spans.get((provider, model, tier), ())
        self._spans.put((provider, model, tier), (span, *known)[:_MAX_SPANS])
        return span.sheet

    def _prices(self) -> PriceList:
        if self._list is None:
            self._list = PriceList(self._discounts)
        return self._list


def _parse_discounts(given: Mapping[str, Price]) -> dict[str, Fraction]:
    discounts = {}
    for provider, value in given.items():
        share = dollars_of(f"discount of {provider!r}", value)
        if share >= 1:
            raise ConfigurationError(f'discount of {provider!r} is a fraction: "0.10" takes 10 % off, not {value!r}')
        discounts[provider_id(provider) or provider.lower()] = share
    return discounts


def _at_most(ceiling: Ceiling | None, input_tokens: int, output_tokens: int) -> int | None:
    if ceiling is None or (output_tokens and ceiling.output is None):
        return None
    return ceiling.fixed(max(0, input_tokens)) - (-output_tokens * (ceiling.output or 0) // ceiling.scale)


def _affordable(ceiling: Ceiling | None, input_tokens: int, nanos: int, choices: int) -> int:
    if ceiling is None or ceiling.output is None:
        return 0
    left = nanos - ceiling.fixed(max(0, input_tokens))
    if left < 0:
        return 0
    per_token = ceiling.output * choices
    return min(UNLIMITED_OUTPUT, left * ceiling.scale // per_token) if per_token else UNLIMITED_OUTPUT
