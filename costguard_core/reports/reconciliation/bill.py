"""A provider's own record of what it billed, in one shape whatever it was read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import NamedTuple

from costguard_core.errors import CostGuardError
from costguard_core.reports.reconciliation.names import one_to_one
from costguard_core.types import NANOS_PER_DOLLAR

# The parts that tokens are billed in. Unlike the fields of `Usage`, no part is inside another one.
INPUT, OUTPUT = "input", "output"
CACHE_READ, CACHE_WRITE, CACHE_WRITE_1H = "cache_read", "cache_write", "cache_write_1h"
AUDIO_INPUT, AUDIO_CACHE_READ, AUDIO_OUTPUT = "audio_input", "audio_cache_read", "audio_output"
IMAGE_INPUT, IMAGE_OUTPUT = "image_input", "image_output"
WHOLE = "whole"
"""The part of a line of money that is not split by parts."""

TOKEN_PARTS = (
    INPUT,
    CACHE_READ,
    CACHE_WRITE,
    CACHE_WRITE_1H,
    AUDIO_INPUT,
    AUDIO_CACHE_READ,
    IMAGE_INPUT,
    OUTPUT,
    AUDIO_OUTPUT,
    IMAGE_OUTPUT,
)
OUTPUT_PARTS = frozenset((OUTPUT, AUDIO_OUTPUT, IMAGE_OUTPUT))

Cell = tuple[str | None, str]
"""A service tier (``None``: standard) and a part of the tokens."""

# Where the money of a part is when it has no line of its own.
PARENTS: Mapping[str, str] = {
    CACHE_WRITE_1H: CACHE_WRITE,
    CACHE_WRITE: INPUT,
    CACHE_READ: INPUT,
    AUDIO_CACHE_READ: AUDIO_INPUT,
    AUDIO_INPUT: INPUT,
    IMAGE_INPUT: INPUT,
    AUDIO_OUTPUT: OUTPUT,
    IMAGE_OUTPUT: OUTPUT,
}


class Subject(NamedTuple):
    """What one row of a bill is about.

    Attributes:
        day: ``"2026-11-01"``, a day of the bill's time zone.
        name: a model, or a tool of the provider that is billed by the piece.
        is_tool: whether it is a tool.
    """

    day: str
    name: str
    is_tool: bool = False


@dataclass(slots=True)
class Billed:
    """What a provider billed for one subject.

    Attributes:
        money: nano-dollars by tier and part.
        tokens: tokens by tier and part; empty: the provider does not say.
        requests: requests to a model, or uses of a tool; ``None``: the provider does not say.
    """

    money: dict[Cell, int] = field(default_factory=dict)
    tokens: dict[Cell, int] = field(default_factory=dict)
    requests: int | None = None

    @property
    def nanos(self) -> int:
        return sum(self.money.values())

    def add_money(self, tier: str | None, part: str, nanos: int) -> None:
        self.money[tier, part] = self.money.get((tier, part), 0) + nanos

    def add_tokens(self, tier: str | None, counts: Mapping[str, int]) -> None:
        for part, count in counts.items():
            if count:
                self.tokens[tier, part] = self.tokens.get((tier, part), 0) + count

    def add_requests(self, count: int | None) -> None:
        if count is not None:
            self.requests = (self.requests or 0) + count


@dataclass(slots=True)
class Bill:
    """What one provider billed in a span of days.

    Attributes:
        provider: the price list's id of the seller.
        source: where it was read: an address or the name of a file.
        rows: what was billed, by subject.
        has_money: whether amounts were read; without them tokens are valued at list prices.
        notes: what a reader must know beside the figures.
    """

    provider: str
    source: str
    rows: dict[Subject, Billed] = field(default_factory=dict)
    has_money: bool = False
    notes: list[str] = field(default_factory=list)

    def row(self, subject: Subject) -> Billed:
        return self.rows.setdefault(subject, Billed())

    def join_names(self) -> None:
        """Put money and usage of one model together that two exports know under two names.

        Anthropic's export of costs has "Claude Sonnet 4.5", its export of usage "claude-sonnet-4-5-20250929".
        """
        models = [subject for subject in self.rows if not subject.is_tool]
        used_ones = {subject for subject in models if self.rows[subject].tokens or self.rows[subject].requests}
        money = [subject for subject in models if subject not in used_ones]
        usage = [subject for subject in models if subject in used_ones and not self.rows[subject].money]
        for day in {subject.day for subject in money}:
            for paid, used in one_to_one(
                [subject.name for subject in money if subject.day == day],
                [subject.name for subject in usage if subject.day == day],
            ):
                self.rows[Subject(day, used)].money = self.rows.pop(Subject(day, paid)).money


_MOST = 10**21  # nano-dollars or tokens in one line of a bill; "1e400" is a slip


def nanos_of(amount: object, *, per_dollar: int = 1) -> int:
    """Nano-dollars of a number or a text, rounded half to even. ``per_dollar`` is 100 for cents.

    Raises:
        CostGuardError: it is no amount.
    """
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float, Decimal)):
        raise CostGuardError(f"{amount!r} is no amount of money")
    try:
        exact = Decimal(str(amount).strip()) * NANOS_PER_DOLLAR / per_dollar
        if abs(exact) > _MOST:
            raise ValueError
        return int(exact.to_integral_value())
    except (ArithmeticError, ValueError):
        raise CostGuardError(f"{str(amount)[:40]!r} is no amount of money") from None


def count_of(value: object) -> int:
    """A count of tokens or requests; what is missing is none.

    Raises:
        CostGuardError: it is no count.
    """
    if value is None or value == "":
        return 0
    try:
        exact = Decimal(str(value).strip())
        if exact != exact.to_integral_value() or not 0 <= exact <= _MOST or isinstance(value, bool):
            raise ValueError
        return int(exact)
    except (ArithmeticError, ValueError):
        raise CostGuardError(f"{str(value)[:40]!r} is no count") from None


def uses_of(value: object) -> int | None:
    """How often a tool was used by a line's quantity, negative where the provider gives money back.

    ``None``: it does not say, or the quantity is a part of something, such as of a gigabyte.

    Raises:
        CostGuardError: it is no number.
    """
    if value is None or value == "":
        return None
    try:
        exact = Decimal(str(value).strip())
        return int(exact) if exact == exact.to_integral_value() else None
    except (ArithmeticError, ValueError):
        raise CostGuardError(f"{str(value)[:40]!r} is no quantity") from None


def day_of(begun: int | str) -> str:
    """The UTC day of a bucket that begins at unix seconds or on ``"2026-11-01"``.

    Raises:
        CostGuardError: it is no such time.
    """
    try:
        found = date.fromisoformat(begun) if isinstance(begun, str) else datetime.fromtimestamp(begun, UTC).date()
    except (ValueError, OverflowError, OSError):
        raise CostGuardError(f"the report has a day that begins at {str(begun)[:40]!r}") from None
    return found.isoformat()
