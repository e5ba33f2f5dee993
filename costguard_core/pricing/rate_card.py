"""The arithmetic: a price sheet compiled to integers, applied to one usage.

A rate is nano-dollars times ``Rates.scale`` per token, so that prices below one nano-dollar per token stay exact. Each
line (fresh input, cached input, output, …) is multiplied, divided by the scale and rounded *up* once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from costguard_core.types import NANOS_PER_DOLLAR, Usage


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of one sheet. ``None``: not priced apart, so those tokens are part of their parent's line.

    ``input`` or ``output`` ``None`` means that tokens of that direction have no known price at all.
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
    reasoning: int | None = None
    web_search: int | None = None
    request: int | None = None

    @classmethod
    def of(cls, dollars: Mapping[str, Fraction]) -> Rates:
        """From exact dollars per single token (per search, per request), by field name."""
        nanos = {name: price * NANOS_PER_DOLLAR for name, price in dollars.items()}
        scale = lcm(1, *(price.denominator for price in nanos.values()))
        return cls(scale, **{name: int(price * scale) for name, price in nanos.items()})

    def cost(self, u: Usage) -> int | None:
        """Nano-dollars of a usage whose parts are consistent (see :func:`consistent`); ``None`` if unknown."""
        if (u.input_tokens and self.input is None) or (u.output_tokens and self.output is None):
            return None
        nanos = self._input(u) + self._output(u)
        if self.request:
            nanos += self._line(1, self.request)
        if u.web_searches and self.web_search:
            nanos += self._line(u.web_searches, self.web_search)
        return nanos

    def _line(self, count: int, rate: int) -> int:
        return -(-count * rate // self.scale)

    def _input(self, u: Usage) -> int:
        nanos, fresh, scale = 0, u.input_tokens, self.scale
        cached = u.cache_read_tokens
        media = u.audio_input_tokens or u.image_input_tokens
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
        """Nano-dollars of audio and image lines, and the input and the cached tokens that are left for other lines."""
        nanos, fresh, cached = 0, u.input_tokens, u.cache_read_tokens
        for count, both, rate, both_rate in (
            (u.audio_input_tokens, u.audio_cache_read_tokens, self.audio_input, self.audio_cache_read),
            (u.image_input_tokens, _cached_image(u), self.image_input, self.image_cache_read),
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
        outputs = [rate for rate in (self.output, self.reasoning) if rate is not None]
        broken = sum(1 for rate in (*inputs, *outputs) if rate % self.scale)
        return Ceiling(self.scale, max(inputs), max(outputs, default=None), self.request or 0, max(0, broken - 1))


class Ceiling(NamedTuple):
    """``worst = ceil(input) + ceil(output) + ceil(request) + slack``, the rates as in :class:`Rates`.

    ``slack`` nano-dollars cover that the real bill may round up on several lines where the ceiling has one.
    """

    scale: int
    input: int
    output: int | None
    request: int
    slack: int

    def fixed(self, input_tokens: int) -> int:
        return -(-input_tokens * self.input // self.scale) - (-self.request // self.scale) + self.slack


class Tier(NamedTuple):
    """The rates of prompts longer than ``above`` tokens. ``writing`` is the ceiling when a cache may be written."""

    above: int
    rates: Rates
    reading: Ceiling | None
    writing: Ceiling | None


class Sheet(NamedTuple):
    """Rates by prompt length, longest first. A threshold reprices the *whole* request (the "cliff")."""

    tiers: tuple[Tier, ...]

    @classmethod
    def of(cls, base: Rates, cliffs: Mapping[int, Rates] | None = None, *, implicit_writes: bool = True) -> Sheet:
        """``cliffs`` are rates by threshold. ``implicit_writes``: cache writes are billed that nobody asked for."""
        steps = sorted({-1: base, **(cliffs or {})}.items(), reverse=True)
        return cls(
            tuple(
                Tier(above, rates, rates.ceiling(cache_writes=implicit_writes), rates.ceiling(cache_writes=True))
                for above, rates in steps
            )
        )

    def cost(self, usage: Usage) -> int | None:
        """Nano-dollars, ``None`` if a direction that was used has no price."""
        usage = consistent(usage)
        for above, rates, _, _ in self.tiers:
            if usage.input_tokens > above:
                return rates.cost(usage)
        raise AssertionError("the base tier takes every prompt")

    def ceilings(self, input_tokens: int, *, cache_writes: bool) -> list[Ceiling | None]:
        """One per tier that a prompt of *at most* ``input_tokens`` can fall into."""
        reachable = (tier for tier in self.tiers if tier.above < max(input_tokens, 0))
        return [tier.writing if cache_writes else tier.reading for tier in reachable]


def consistent(u: Usage) -> Usage:
    """The same usage with no negative count and no part larger than its total: odd details *raise* the total.

    Details that do not fit beside each other are first taken to overlap (cached audio, cached images).
    """
    return u if _adds_up(u) else _repaired(u)


def _adds_up(u: Usage) -> bool:
    cached, both = u.cache_read_tokens, u.audio_cache_read_tokens
    written, audio, image = u.cache_write_tokens, u.audio_input_tokens, u.image_input_tokens
    thought, sound, picture = u.reasoning_tokens, u.audio_output_tokens, u.image_output_tokens
    return (
        both >= 0 <= image
        and thought >= 0 <= sound
        and picture >= 0 <= u.web_searches
        and cached >= both <= audio
        and 0 <= u.cache_write_1h_tokens <= written
        and u.input_tokens >= cached + written + audio + image - both
        and u.output_tokens >= thought + sound + picture
    )


_COUNTS = tuple(f.name for f in fields(Usage) if f.name not in ("tier", "estimated"))


def _repaired(u: Usage) -> Usage:
    u = replace(u, **{name: max(0, getattr(u, name)) for name in _COUNTS})
    written = max(u.cache_write_tokens, u.cache_write_1h_tokens)
    audio = max(u.audio_input_tokens, u.audio_cache_read_tokens)
    cached = max(u.cache_read_tokens, u.audio_cache_read_tokens)
    apart = cached + written + audio + u.image_input_tokens
    both = max(u.audio_cache_read_tokens, min(audio, cached, apart - u.input_tokens))
    pictures = min(u.image_input_tokens, cached - both)
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
    return max(0, parts - u.audio_cache_read_tokens - u.input_tokens)
