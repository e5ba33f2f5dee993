"""The arithmetic of prices: one rate card, compiled to integers, applied to one usage.

A rate is nano-dollars times ``Rates.scale`` per token, so that prices below one nano-dollar per token stay exact. Each
line (fresh input, cached input, output, …) is multiplied, divided by the scale and rounded *up* once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from costguard_core.types import NANOS_PER_DOLLAR, TOKEN_COUNTS, Usage


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one rate card. ``None``: not priced apart, so those tokens are part of their parent's line.

    ``input`` or ``output`` ``None`` means that tokens of that direction have no known price at all. ``unknown`` names
    the modalities (``"audio_input"``, ``"audio_output"``, ``"image_output"``) that the seller prices apart without this
    card knowing the price. ``units`` are the prices of billed units
    by name (see :data:`~costguard_core.types.BILLED_UNITS`).
    """

    scale: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_cache_read: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    image_cache_read: int | None = None
    image_output: int | None = None
    video_input: int | None = None
    reasoning: int | None = None
    web_search: int | None = None
    request: int | None = None
    units: Mapping[str, int] = field(default_factory=dict)
    unknown: frozenset[str] = frozenset()

    @classmethod
    def of(cls, dollars: Mapping[str, Fraction], unknown: frozenset[str] = frozenset()) -> Rates:
        """From exact dollars per single token, search, request or unit, by field name or name of a billed unit."""
        nanos = {name: price * NANOS_PER_DOLLAR for name, price in dollars.items()}
        scale = lcm(1, *(price.denominator for price in nanos.values()))
        scaled = {name: int(price * scale) for name, price in nanos.items()}
        units = {name: rate for name, rate in scaled.items() if name not in _LINE_NAMES}
        lines = {name: rate for name, rate in scaled.items() if name in _LINE_NAMES}
        return cls(scale, **lines, units=units, unknown=unknown)

    def price(self, u: Usage) -> Priced:
        """What a usage costs whose parts are consistent (see :func:`_adds_up`)."""
        if (u.input_tokens and self.input is None) or (u.output_tokens and self.output is None):
            return Priced(None)
        unknown: tuple[str, ...] = ()
        if self.unknown:
            unknown = tuple(sorted(name for name in self.unknown if getattr(u, f"{name}_tokens")))
        return self.with_pieces(self.tokens(u), u, unknown)

    def tokens(self, u: Usage) -> int:
        """Nano-dollars of all tokens of a usage whose directions have a price."""
        nanos = self._input(u) + self._output(u)
        return -(-nanos * (100 + u.region_surcharge) // 100) if u.region_surcharge else nanos

    def with_pieces(self, nanos: int, u: Usage, unknown: tuple[str, ...] = ()) -> Priced:
        """``nanos`` for the tokens of a usage, with what else is billed beside them."""
        if self.request:
            nanos += self._line(1, self.request)
        if not u.web_searches and not u.units:
            return Priced(nanos, unknown=unknown)
        unpriced = []
        for name, count in (("web_search", u.web_searches), *u.units):
            rate = self.web_search if name == "web_search" else self.units.get(name)
            if count and rate is None and name not in _SURCHARGES:
                unpriced.append(name)
            nanos += self._line(count, rate or 0)
        return Priced(nanos, tuple(unpriced), unknown)

    def price_text(self, inputs: int, cached: int, outputs: int) -> Priced:
        """:meth:`price` of ``inputs`` tokens of text, of which ``cached`` were read from a cache, and ``outputs``."""
        fresh_rate, output_rate, cached_rate, scale = self.input, self.output, self.cache_read, self.scale
        if (inputs and fresh_rate is None) or (outputs and output_rate is None):
            return Priced(None)
        nanos = -(-outputs * (output_rate or 0) // scale)
        if cached and cached_rate is not None:
            nanos -= -cached * cached_rate // scale
            inputs -= cached
        nanos -= -inputs * (fresh_rate or 0) // scale
        if self.request:
            nanos -= -self.request // scale
        return Priced(nanos)

    def _line(self, count: int, rate: int) -> int:
        return -(-count * rate // self.scale)

    def _input(self, u: Usage) -> int:
        nanos, fresh, scale = 0, u.input_tokens, self.scale
        cached = u.cache_read_tokens
        media = u.audio_input_tokens or u.image_input_tokens or u.video_input_tokens
        if media:
            nanos, fresh, cached = self._media_input(u)
        if cached and self.cache_read is not None:
            nanos -= -cached * self.cache_read // scale
            fresh -= cached
        if u.cache_write_tokens and self.cache_write is not None:
            nanos += self._writes(u)
            fresh -= u.cache_write_tokens
        return nanos - (-fresh * (self.input or 0) // scale)

    def _writes(self, u: Usage) -> int:
        long = u.cache_write_1h_tokens if self.cache_write_1h is not None else 0
        short = u.cache_write_tokens - long
        return self._line(short, self.cache_write or 0) + self._line(long, self.cache_write_1h or 0)

    def _media_input(self, u: Usage) -> tuple[int, int, int]:
        """Nano-dollars of audio, image and video lines; the input and the cached tokens left for other lines."""
        nanos, fresh, cached = 0, u.input_tokens, u.cache_read_tokens
        for count, both, rate, both_rate in (
            (u.audio_input_tokens, u.audio_cache_read_tokens, self.audio_input, self.audio_cache_read),
            (u.image_input_tokens, _cached_image(u), self.image_input, self.image_cache_read),
            (u.video_input_tokens, 0, self.video_input, None),
        ):
            if rate is None or not count:
                continue
            overlap = both if both_rate is not None else 0
            nanos += self._line(count - overlap, rate) + self._line(overlap, both_rate or 0)
            fresh -= count
            cached -= overlap
        return nanos, fresh, cached

    def _output(self, u: Usage) -> int:
        nanos, plain = 0, u.output_tokens
        if u.reasoning_tokens and self.reasoning is not None:
            nanos += self._line(u.reasoning_tokens, self.reasoning)
            plain -= u.reasoning_tokens
        if u.audio_output_tokens and self.audio_output is not None:
            nanos += self._line(u.audio_output_tokens, self.audio_output)
            plain -= u.audio_output_tokens
        if u.image_output_tokens and self.image_output is not None:
            nanos += self._line(u.image_output_tokens, self.image_output)
            plain -= u.image_output_tokens
        return nanos - (-plain * (self.output or 0) // self.scale)

    def ceiling(self, *, cache_writes: bool) -> Ceiling | None:
        """The dearest that plain text can be billed at, ``None`` when nobody knows the input price."""
        if self.input is None:
            return None
        writes = (self.cache_write, self.cache_write_1h) if cache_writes else ()
        inputs = [rate for rate in (self.input, self.cache_read, *writes) if rate is not None]
        # A model that can answer with pictures may answer with nothing else.
        outputs = [rate for rate in (self.output, self.reasoning, self.image_output) if rate is not None]
        broken = sum(1 for rate in (*inputs, *outputs) if rate % self.scale)
        return Ceiling(
            self.scale,
            max(inputs),
            None if self.output is None else max(outputs),
            self.request or 0,
            max(0, broken - 1),
            audio_input=None if "audio_input" in self.unknown else max(self.audio_input or 0, *inputs),
            audio_output=None if "audio_output" in self.unknown else max(self.audio_output or 0, *outputs, 0),
            web_search=self.web_search,
            visual_input=max(self.image_input or 0, self.video_input or 0, *inputs),
            pieces=self.units,
        )


# Pieces that cost something beyond another piece, where anybody says so: a declared price of a search is of any search.
_SURCHARGES = frozenset(("preview_search",))
_LINE_NAMES = frozenset(Rates.__dataclass_fields__) - {"scale", "units", "unknown"}


class Priced(NamedTuple):
    """What a usage costs at one card.

    Attributes:
        cost: nano-dollars; ``None``: a direction that was used has no price.
        unpriced: names of units that are billed beside it and have no price on the card.
        unknown: modalities that were used and are in ``cost`` at the price of text, although they cost more.
    """

    cost: int | None
    unpriced: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class Ceiling(NamedTuple):
    """``worst = ceil(input) + ceil(output) + ceil(request) + slack``, the rates as in :class:`Rates`.

    ``slack`` nano-dollars cover that the real bill may round up on several lines where the ceiling has one.
    """

    scale: int
    input: int
    output: int | None
    request: int
    slack: int
    audio_input: int | None = 0
    audio_output: int | None = 0
    web_search: int | None = None
    visual_input: int = 0
    pieces: Mapping[str, int] = {}

    def fixed(self, load: Load) -> int | None:
        """Nano-dollars of everything but the output; ``None`` if something of it has no known price."""
        audio = min(load.audio_tokens, load.input_tokens)
        if audio and self.audio_input is None:
            return None
        if load.searches and self.web_search is None:
            return None
        visual = min(load.visual_tokens, load.input_tokens - audio)
        text = load.input_tokens - audio - visual
        nanos = -(-text * self.input // self.scale) - (-self.request // self.scale) + self.slack
        nanos -= -audio * (self.audio_input or 0) // self.scale
        nanos -= -visual * self.visual_input // self.scale
        for name, count in load.pieces:  # what has no price is no part of the bill either, which is a floor then
            nanos -= -count * self.pieces.get(name, 0) // self.scale
        nanos -= -load.searches * (self.web_search or 0) // self.scale
        return nanos

    def at_most(self, load: Load, output_tokens: int) -> int | None:
        """Nano-dollars of the whole call with an answer of at most ``output_tokens``; ``None``: unknown."""
        tokens, audio, searches, speaks, visual, pieces = load
        # Text alone is priced in one place, because every call is held.
        if not (audio or searches or speaks or visual or pieces):
            scale, rate = self.scale, self.output
            if output_tokens and rate is None:
                return None
            text = -(-tokens * self.input // scale) - (-output_tokens * (rate or 0) // scale)
            return text - (-self.request // scale) + self.slack
        fixed, rate = self.fixed(load), self.output_rate(load) if load.speaks else self.output
        if fixed is None or (output_tokens and rate is None):
            return None
        return fixed - (-output_tokens * (rate or 0) // self.scale)

    def output_rate(self, load: Load) -> int | None:
        """The dearest that a token of the answer can be."""
        if not load.speaks or self.output is None:
            return self.output
        return self.audio_output


class Load(NamedTuple):
    """What a call may consume beside its answer, at most.

    Attributes:
        input_tokens: tokens of the prompt, with what server-side tools may add to it.
        audio_tokens: those of them that are sound.
        searches: searches of the web.
        speaks: the answer may be sound.
        visual_tokens: those of the prompt that are pictures or video.
        pieces: what else tools of the provider may bill by the piece.
    """

    input_tokens: int
    audio_tokens: int = 0
    searches: int = 0
    speaks: bool = False
    visual_tokens: int = 0
    pieces: tuple[tuple[str, int], ...] = ()


class RateStep(NamedTuple):
    """The rates of prompts longer than ``above`` tokens. ``writing`` is the ceiling when a cache may be written."""

    above: int
    rates: Rates
    reading: Ceiling | None
    writing: Ceiling | None


class RateCard(NamedTuple):
    """Rates by prompt length, longest first. A threshold reprices the *whole* request (the "cliff").

    ``implicit_writes``: writes to the prompt cache are billed that nobody asked for.
    """

    steps: tuple[RateStep, ...]
    implicit_writes: bool = True

    @classmethod
    def of(cls, base: Rates, cliffs: Mapping[int, Rates] | None = None, *, implicit_writes: bool = True) -> RateCard:
        """``cliffs`` are rates by threshold: prompts of more tokens pay them."""
        steps = sorted({-1: base, **(cliffs or {})}.items(), reverse=True)
        return cls(
            tuple(
                RateStep(above, rates, rates.ceiling(cache_writes=implicit_writes), rates.ceiling(cache_writes=True))
                for above, rates in steps
            ),
            implicit_writes,
        )

    def price(self, usage: Usage) -> Priced:
        """What a usage costs: each price line rounded up once."""
        if usage.passes and len(self.steps) > 1 and (apart := self._passes(usage)) is not None:
            return apart
        inputs, outputs, cached = usage.input_tokens, usage.output_tokens, usage.cache_read_tokens
        # The common case, text alone, in one place, because every call is priced: the same sum as that of `Rates`.
        if inputs >= cached >= 0 <= outputs and not (
            usage.cache_write_tokens
            or usage.cache_write_1h_tokens
            or usage.audio_input_tokens
            or usage.audio_cache_read_tokens
            or usage.audio_output_tokens
            or usage.image_input_tokens
            or usage.image_output_tokens
            or usage.video_input_tokens
            or usage.reasoning_tokens
            or usage.web_searches
            or usage.units
            or usage.region_surcharge
        ):
            for above, rates, _, _ in self.steps:
                if inputs > above:
                    return rates.price_text(inputs, cached, outputs)
        return self.price_parts(usage)

    def _passes(self, usage: Usage) -> Priced | None:
        """What a usage costs whose passes are billed by their own lengths; ``None``: they do not make up its counts."""
        if any(sum(getattr(one, name) for one in usage.passes) != getattr(usage, name) for name in _OF_PASSES):
            return None
        whole = 0
        for one in usage.passes:
            tokens = replace(one, region_surcharge=usage.region_surcharge, web_searches=0, units=())
            tokens = tokens if _adds_up(tokens) else _repaired(tokens)
            rates = self._at(tokens.input_tokens)
            found = rates.price(tokens)
            if found.cost is None or found.unknown:
                return None
            whole += rates.tokens(tokens)
        return self.steps[-1].rates.with_pieces(whole, usage)

    def _at(self, input_tokens: int) -> Rates:
        """The rates of a prompt of so many tokens."""
        return next(rates for above, rates, _, _ in self.steps if input_tokens > above)

    def price_parts(self, usage: Usage) -> Priced:
        """:meth:`price` of any usage, with all its parts."""
        if not _adds_up(usage):
            usage = _repaired(usage)
        return self._at(usage.input_tokens).price(usage)

    def with_units_of(self, other: RateCard) -> RateCard:
        """This card with the prices of searches and units that only the other one knows."""
        base, *cliffs = [(step.above, _with_units(step.rates, other.steps[-1].rates)) for step in reversed(self.steps)]
        return RateCard.of(base[1], dict(cliffs), implicit_writes=self.implicit_writes)


def _adds_up(u: Usage) -> bool:
    """Whether no count is negative and no part larger than its total."""
    cached, both = u.cache_read_tokens, u.audio_cache_read_tokens
    written, audio, image = u.cache_write_tokens, u.audio_input_tokens, u.image_input_tokens + u.video_input_tokens
    thought, sound, picture = u.reasoning_tokens, u.audio_output_tokens, u.image_output_tokens
    return (
        both >= 0 <= u.image_input_tokens
        and u.video_input_tokens >= 0
        and thought >= 0 <= sound
        and picture >= 0 <= u.web_searches
        and cached >= both <= audio
        and 0 <= u.cache_write_1h_tokens <= written
        and u.input_tokens >= cached + written + audio + image - both
        and u.output_tokens >= thought + sound + picture
    )


def _with_units(rates: Rates, other: Rates) -> Rates:
    """``rates`` with the prices per piece of ``other`` that it lacks, in its own scale."""
    missing = {name: rate for name, rate in other.units.items() if name not in rates.units}
    search = other.web_search if rates.web_search is None else None
    if not missing and search is None:
        return rates
    scale = lcm(rates.scale, other.scale)
    own, theirs = scale // rates.scale, scale // other.scale
    lines = {
        name: rate * own for name in _LINE_NAMES if (rate := getattr(rates, name)) is not None and name != "web_search"
    }
    searches = rates.web_search * own if rates.web_search is not None else None if search is None else search * theirs
    units = {name: rate * own for name, rate in rates.units.items()}
    units |= {name: rate * theirs for name, rate in missing.items()}
    return Rates(scale, **lines, web_search=searches, units=units, unknown=rates.unknown)


_COUNTS = (*TOKEN_COUNTS, "web_searches")
_OF_PASSES = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")


def _repaired(u: Usage) -> Usage:
    """The usage so that it adds up: odd details *raise* the total.

    Details that do not fit beside each other are first taken to overlap (cached audio, cached images).
    """
    u = replace(u, **{name: max(0, getattr(u, name)) for name in _COUNTS})
    written = max(u.cache_write_tokens, u.cache_write_1h_tokens)
    audio = max(u.audio_input_tokens, u.audio_cache_read_tokens)
    cached = max(u.cache_read_tokens, u.audio_cache_read_tokens)
    image = u.image_input_tokens + u.video_input_tokens
    apart = cached + written + audio + image
    both = max(u.audio_cache_read_tokens, min(audio, cached, apart - u.input_tokens))
    pictures = min(image, cached - both)
    outputs = u.reasoning_tokens + u.audio_output_tokens + u.image_output_tokens
    return replace(
        u,
        input_tokens=max(u.input_tokens, apart - both - pictures),
        output_tokens=max(u.output_tokens, outputs),
        cache_read_tokens=cached,
        cache_write_tokens=written,
        audio_input_tokens=audio,
        audio_cache_read_tokens=both,
    )


def _cached_image(u: Usage) -> int:
    """Image tokens that must have been cached ones too, because they do not fit into the input otherwise."""
    parts = u.cache_read_tokens + u.cache_write_tokens + u.audio_input_tokens + u.image_input_tokens
    overlap = parts + u.video_input_tokens - u.audio_cache_read_tokens - u.input_tokens
    return min(max(0, overlap), u.image_input_tokens)
