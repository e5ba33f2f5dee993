"""Emergency caps: limits for everybody at once, which every process obeys from its next call on, and which end.

They are kept as one text in the counter store, which tells it with every reservation, so that no process asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from types import NoneType

from costguard_core.budgets.budget import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.types import Alert
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.options import check_flag, check_kind
from costguard_core.util.text import printable
from costguard_core.util.timeparse import LATEST, Moment, resolve_ahead

NAME = "emergency"
"""How the names of its budgets begin, in refusals and reports."""

_LONGEST_TEXT = 500  # characters of a reason: a choice
_TEXTS = {"rate": '"30/minute"', "spend": '"$5/hour"', "max_cost": '"$0.05"'}
_NUMBER_FIRST = re.compile(r"\s*(\d+)\s*/\s*(\w+)\s*")


@dataclass(frozen=True, slots=True)
class Emergency:
    """Caps for everybody together, until a moment.

    Attributes:
        until: when they end, unix seconds by the counter store's clock.
        max_input: the most input tokens of one call; ``None``: no cap.
        rate: calls of everybody, such as ``"30 requests/minute"``; ``None``: no cap.
        spend: dollars of everybody, such as ``"$5/hour"``; ``None``: no cap.
        max_cost: the most that one call may cost, such as ``"$0.05"``; ``None``: no cap.
        cheapest: routers use their cheapest tier only.
        reason: why; status and alerts say it.
        by: who decided it.
        at: when, unix seconds.
    """

    until: float
    max_input: int | None = None
    rate: str | None = None
    spend: str | None = None
    max_cost: str | None = None
    cheapest: bool = False
    reason: str = ""
    by: str = ""
    at: float = 0.0

    def __post_init__(self) -> None:
        number("until", self.until, above=0, at_most=LATEST)
        number("at", self.at, at_least=0)
        check_flag("cheapest", self.cheapest)
        for name in ("reason", "by"):
            if not isinstance(getattr(self, name), str) or len(getattr(self, name)) > _LONGEST_TEXT:
                raise ConfigurationError(f"{name}= is a text of at most {_LONGEST_TEXT} characters")
        for name, example in _TEXTS.items():
            numbers = (int, float) if name == "max_cost" else ()
            check_kind(name, getattr(self, name), (str, NoneType, *numbers), example)
        if self.max_input is not None:
            whole_number("max_input", self.max_input, at_least=1)
        if not list(self.budgets()) and not self.cheapest:
            raise ConfigurationError(
                "an emergency caps something: max_input=4000, rate='30/minute', spend='$5/hour', max_cost='$0.05' or "
                "cheapest=True. To stop all calls: guard.trip(why)"
            )

    def budgets(self) -> Iterator[Budget]:
        """The caps as budgets.

        Raises:
            ConfigurationError: a rate or an amount cannot be used.
        """
        if self.max_input is not None:
            yield _budget(f"{self.max_input} input tokens/call", f"{NAME}: input tokens of a call")
        if self.rate is not None:
            plain = _NUMBER_FIRST.fullmatch(self.rate)
            rate = f"{plain[1]} requests/{plain[2]}" if plain else self.rate
            yield _checked(_budget(rate, f"{NAME}: calls of everybody"), "requests", "rate")
        if self.spend is not None:
            yield _checked(_budget(self.spend, f"{NAME}: spend of everybody"), "usd", "spend")
        if self.max_cost is not None:
            yield _budget(f"${str(self.max_cost).removeprefix('$')}/call", f"{NAME}: cost of a call")

    def to_text(self) -> str:
        """As a counter store keeps it."""
        return json.dumps({name: value for name, value in asdict(self).items() if value not in (None, "", False)})

    @classmethod
    def from_text(cls, text: str) -> Emergency:
        """What :meth:`to_text` wrote. What a later release may have added is not obeyed here."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})

    @property
    def alarm(self) -> str:
        """What the first of all processes claims that tells of these caps."""
        return f"alert:{NAME}:{self.at:.6f}"

    @property
    def seconds(self) -> float:
        """How long they hold; at least 1."""
        return max(1.0, self.until - self.at)

    def alert(self, now: float) -> Alert:
        """What hooks are told when the caps are first obeyed."""
        return Alert(NAME, (), 1.0, "requests", 0, 0, now, "emergency", str(self))

    def __str__(self) -> str:
        caps = [str(budget) for budget in self.budgets()] + (["cheapest tier only"] if self.cheapest else [])
        who = f" by {printable(self.by)}" if self.by else ""
        why = f": {printable(self.reason)}" if self.reason else ""
        end = f"{datetime.fromtimestamp(self.until, UTC):%Y-%m-%d %H:%M:%S}Z"
        return f"{', '.join(caps)} for everybody until {end}, declared{who}{why}"


def end_of(duration: Moment, now: float) -> float:
    """When caps end that are declared at ``now`` (both unix seconds); ``duration`` is ``"2h"`` or another moment ahead.

    Raises:
        ConfigurationError: it is no moment, or one that has passed.
    """
    end = resolve_ahead(duration, now=now)
    if end is None or end <= now:
        raise ConfigurationError(f'an emergency ends by itself: say how long it lasts, such as "2h", not {duration!r}')
    return end


def read_emergency(text: str) -> Emergency | None:
    """The caps that a counter store tells; ``None``: there are none, or a later release wrote what is unknown here."""
    try:
        return Emergency.from_text(text) if text else None
    except (ValueError, TypeError, AttributeError):  # ConfigurationError is a ValueError
        return None


def _budget(text: str, name: str) -> Budget:
    # A store that is away has no caps to tell: the guard's own budgets say what happens then.
    return Budget.parse(text, name=name, alerts=(), on_store_error="open")


def _checked(budget: Budget, unit: str, name: str) -> Budget:
    if budget.unit != unit or budget.window == "call" or budget.per or budget.conditions:
        raise ConfigurationError(f"{name}= is for everybody together, such as {_TEXTS[name]}, not {str(budget)!r}")
    return budget
