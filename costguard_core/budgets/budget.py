"""Budgets: what may be spent, in which window, by whom, and what happens when it is used up."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from types import NoneType
from typing import Any, Literal
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo, available_timezones

from costguard_core.budgets.calendar import CALENDAR, period_edges
from costguard_core.budgets.grammar import (
    UNITS,
    WINDOWS,
    Conditions,
    check_conditions,
    choose,
    choose_name,
    parse,
    write,
    write_conditions,
)
from costguard_core.counters.base import Window
from costguard_core.errors import ConfigurationError, SpendLimitExceeded
from costguard_core.types import NANOS_PER_DOLLAR, Attribution, usd
from costguard_core.util.amounts import without_thousands
from costguard_core.util.numbers import number
from costguard_core.util.options import (
    check_answer,
    check_choice,
    check_kind,
    check_known,
    check_text,
    names_options,
    nearest,
)

Scope = tuple[tuple[str, str], ...]

_SLIDING = {"minute": Window(width=60.0), "hour": Window(width=3600.0)}
_ALWAYS = Window()
LARGEST_AMOUNT = 2**62  # sums of amounts must fit the 64-bit counters of SQLite
_LONGEST_VALUE = 64
_PLAIN = re.compile(r"[A-Za-z0-9_.@:+/= -]{0,64}")


@names_options
@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what calls may consume. All budgets of a guard apply to every call, together.

    Args:
        limit: dollars (``"usd"``; stored as ``Decimal``) or a whole number of requests or tokens; more than zero.
        unit: ``"usd"``, ``"requests"``, ``"tokens"`` (input and output) or ``"input tokens"``.
        window: ``"minute"`` and ``"hour"`` slide; ``"day"``, ``"week"`` (from Monday) and ``"month"`` are calendar
            periods of ``timezone``; ``"total"`` never ends; ``"call"`` limits each single call and needs no counter.
        per: what is counted apart: any of user, tenant, session, endpoint, feature, template, model, provider, or a
            tag. Calls that do not say (that have no user, for example) share a scope of their own, shown as ``(none)``:
            they do not escape the budget.
        on_exceed: ``"raise"``, ``"wait"`` (for at most ``wait_timeout`` seconds) or ``"downgrade"`` (a cheaper model).
        answer: a static reply to give instead of raising: text, or a callable that takes the error.
        name: what errors, reports and alerts call it; its own text unless given.
        timezone: IANA name, for calendar windows.
        alerts: fractions of the limit at which hooks are told.
        on_store_error: ``"closed"`` refuses calls while the counter store is down, ``"open"`` lets them through.
        wait_timeout: seconds.
        where: the names and values of the calls that the budget is for, such as ``{"plan": "free"}``; empty: all.
        amount: the limit in the smallest unit: nano-dollars, requests or tokens. Follows from ``limit``.
        key_prefix: how the names of the budget's counters begin. Follows from the other fields.
        latest_window: what :meth:`window_at` said last, asked directly where every call passes.

    Changing ``limit`` keeps what was spent; changing unit, window, per, where, timezone or name starts to count anew.

    Raises:
        ConfigurationError: a value cannot be used; the text says which and what to write instead.
    """

    limit: Decimal | int | str | float
    unit: str = "usd"
    window: str = "day"
    per: tuple[str, ...] = ()
    on_exceed: Literal["raise", "wait", "downgrade"] = "raise"
    answer: str | Callable[[SpendLimitExceeded], str] | None = None
    name: str = None  # type: ignore[assignment]  # filled in with the text
    timezone: str = "UTC"
    alerts: tuple[float, ...] = (0.5, 0.8, 1.0)
    on_store_error: Literal["closed", "open"] = "closed"
    wait_timeout: float = 60.0
    where: Conditions | Mapping[str, str] = ()
    amount: int = field(init=False, repr=False, compare=False)
    key_prefix: str = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)
    latest_window: Window = field(init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str, **options: Any) -> Budget:
        """A budget from one line, such as ``"$25/day per user"``; ``options`` are other arguments of :class:`Budget`.

        Raises:
            ConfigurationError: the text cannot be read; the message points at the word and says what fits there.
        """
        check_known("a budget", options, [name for name, place in cls.__dataclass_fields__.items() if place.init])
        limit, unit, window, per, where = parse(text)
        return cls(limit=limit, unit=unit, window=window, per=per, where=where, **options)

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "unit", choose(self.unit, "unit", UNITS))
        put(self, "window", choose(self.window, "window", WINDOWS))
        put(self, "per", _scopes(self.per))
        put(self, "where", _conditions(self.where))
        put(self, "amount", _amount(self.limit, self.unit))
        put(self, "limit", Decimal(f"{usd(self.amount).normalize():f}") if self.unit == "usd" else self.amount)
        put(self, "alerts", _fractions(self.alerts))
        check_choice("on_exceed", self.on_exceed, ("raise", "wait", "downgrade"))
        check_choice("on_store_error", self.on_store_error, ("closed", "open"))
        check_answer(self.answer)
        check_kind("name", self.name, (str, NoneType), 'a text such as "support"')
        check_text("timezone", self.timezone, '"Europe/Vienna"')
        number("wait_timeout", self.wait_timeout, at_least=0)
        _zone(self.timezone)
        put(self, "key_prefix", self._prefix())
        put(self, "name", self.name or str(self))
        put(self, "latest_window", _SLIDING.get(self.window, _ALWAYS))
        # Calls look their budgets up by value; hashing a dozen fields each time would be most of a reservation's cost.
        put(self, "_hash", hash((self.amount, self.key_prefix, self.name, self.on_exceed, self.answer)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        assert isinstance(self.limit, (Decimal, int))
        return write(self.limit, self.unit, self.window, self.per, self.conditions)

    def _repr_html_(self) -> str:
        from costguard_core.util.html_table import html_table  # of notebooks

        rows = {
            "Limit": str(self),
            "Counted per": ", ".join(self.per) or "everybody together",
            "For": ", ".join(f"{name} = {value}" for name, value in self.conditions) or "all calls",
            "When it is used up": self.on_exceed if self.answer is None else "a static answer",
            "Alerts at": ", ".join(f"{fraction:.0%}" for fraction in self.alerts) or "–",
            "Days of": self.timezone,
            "While the counters are down": self.on_store_error,
        }
        return html_table(f"Budget: {self.name}", ("", ""), (), [((name, value), ()) for name, value in rows.items()])

    @property
    def conditions(self) -> Conditions:
        """``where`` as pairs, in the order of the names."""
        assert isinstance(self.where, tuple)
        return self.where

    @property
    def limit_nanos(self) -> int:
        """The limit of a dollar budget in nano-dollars; same as ``amount``, which is in the unit of the budget."""
        return self.amount

    def applies(self, attribution: Attribution, model: str, provider: str | None = None) -> bool:
        """Whether the budget is for a call: whether the call has every name and value of ``where``."""
        return all(_value(name, attribution, model, provider) == value for name, value in self.conditions)

    def scope(self, attribution: Attribution, model: str, provider: str | None = None) -> Scope:
        """Which counter a call belongs to: a (name, value) pair per word of ``per``; what is not said is ``""``."""
        return tuple([(name, _value(name, attribution, model, provider)) for name in self.per])

    def key(self, scope: Scope) -> str:
        """The name of the counter of ``scope``: short, readable, and different for different scopes.

        Long values are replaced by their BLAKE2b hash.
        """
        return self.key_prefix + "|".join([_written(value) for _, value in scope])

    def read_key(self, key: str) -> Scope:
        """The scope that :meth:`key` wrote; a value that was hashed comes back as ``"~"`` and the hash."""
        values = [unquote(value, errors="surrogatepass") for value in key.removeprefix(self.key_prefix).split("|")]
        return tuple(zip(self.per, values, strict=False))

    def is_key_of(self, key: str, names: Mapping[str, str]) -> bool:
        """Whether a counter's name belongs to a scope that has these names, such as ``{"user": "u1"}``."""
        written = dict(zip(self.per, key.removeprefix(self.key_prefix).split("|"), strict=False))
        return all(written.get(name) == _written(value) for name, value in names.items())

    def window_at(self, now: float) -> Window:
        """Where the budget counts at ``now`` (unix seconds). Calendar edges are worked out once per period."""
        seen = self.latest_window
        if self.window not in CALENDAR:
            return seen
        edges = seen.edges
        if not edges or not edges[1] <= now < edges[2]:
            seen = Window(edges=period_edges(self.window, now, _zone(self.timezone)))
            object.__setattr__(self, "latest_window", seen)
        return seen

    def _prefix(self) -> str:
        zone = f"@{self.timezone}" if self.window in CALENDAR else ""
        named = f"#{quote(self.name, safe='', errors='surrogatepass')}" if self.name else ""
        only = f"?{quote(write_conditions(self.conditions), safe='', errors='surrogatepass')}" if self.where else ""
        return f"{self.unit.replace(' ', '_')}/{self.window}{zone}{named}/{'+'.join(self.per)}{only}|"


def _value(name: str, attribution: Attribution, model: str, provider: str | None) -> str:
    if name == "model":
        return model
    if name == "provider":
        return provider or ""
    return attribution.value(name) or ""


def _written(value: str) -> str:
    """``value`` as part of a key, without ``|``. Hashes begin with ``~``, which nothing else does."""
    if _PLAIN.fullmatch(value):
        return value
    if len(value) > _LONGEST_VALUE:
        return f"~{blake2b(value.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"
    return quote(value, safe="", errors="surrogatepass").replace("~", "%7E")


def _scopes(per: object) -> tuple[str, ...]:
    if isinstance(per, str):
        per = re.split(r"\s*,\s*|\s+and\s+", per.strip()) if per.strip() else ()
    if not isinstance(per, (tuple, list)):
        raise ConfigurationError(f'per={per!r} is not a tuple of scopes. Example: per=("user", "model")')
    return tuple(dict.fromkeys(choose_name(name) for name in per))


def _conditions(where: object) -> Conditions:
    if isinstance(where, str):
        raise ConfigurationError(f'where={where!r} is text: Budget.parse("$5/day where {where}")')
    pairs = tuple(where.items()) if isinstance(where, Mapping) else where
    if not isinstance(pairs, (tuple, list)) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ConfigurationError(f'where={where!r} is not a mapping. Example: where={{"plan": "free"}}')
    return check_conditions({choose_name(name): str(value) for name, value in pairs})


def _amount(limit: object, unit: str) -> int:
    exact = _decimal(limit)
    if not exact.is_finite() or exact <= 0:
        raise ConfigurationError(f"a limit is more than zero, not {limit!r}. To stop all calls: guard.trip(why)")
    if not -9 <= exact.adjusted() <= 18:  # also keeps Decimal("1e999999") from becoming a million digits below
        raise ConfigurationError(f"the limit {limit!r} is smaller or larger than what can be counted")
    scaled = Fraction(exact) * (NANOS_PER_DOLLAR if unit == "usd" else 1)
    if scaled.denominator != 1:
        finest = "a nano-dollar ($0.000000001)" if unit == "usd" else f"one of {unit}"
        raise ConfigurationError(f"the limit {limit!r} is finer than {finest}")
    if scaled > LARGEST_AMOUNT:
        raise ConfigurationError(f"the limit {limit!r} is more than can be counted")
    return int(scaled)


def _decimal(limit: object) -> Decimal:
    if isinstance(limit, bool) or not isinstance(limit, (int, float, str, Decimal)):
        raise ConfigurationError(f'a budget\'s limit is a number, such as 25 or "0.05", not {limit!r}')
    try:
        text = without_thousands(limit.strip().removeprefix("$")) if isinstance(limit, str) else repr(limit)
        return limit if isinstance(limit, Decimal) else Decimal(text)
    except (InvalidOperation, ValueError):
        raise ConfigurationError(
            f"a budget's limit is a number, not {limit!r}. A whole line goes through Budget.parse({limit!r})"
        ) from None


def _fractions(alerts: object) -> tuple[float, ...]:
    if not isinstance(alerts, (tuple, list)) or not all(_is_fraction(a) for a in alerts):
        raise ConfigurationError(
            f"alerts={alerts!r} are not fractions of the limit, above 0 and up to 1. Example: alerts=(0.5, 0.8, 1.0)"
        )
    return tuple(sorted(set(alerts)))


def _is_fraction(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):  # every way in which zoneinfo says "no such zone"
        meant = nearest(name, available_timezones())
        example = 'Example: timezone="Europe/Vienna"'
        raise ConfigurationError(f"timezone={name!r} is not an IANA time zone.{meant} {example}") from None
