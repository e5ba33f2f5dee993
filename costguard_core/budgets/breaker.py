"""The settings of the spend-rate breaker: which rate opens it, and how long it stays open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from costguard_core.budgets.budget import Budget, Scope
from costguard_core.counters.base import Gate
from costguard_core.errors import ConfigurationError, SpendLimitExceeded
from costguard_core.util.numbers import number
from costguard_core.util.options import check_answer, check_choice, check_kind, names_options

_WIDTHS = {"minute": 60.0, "hour": 3600.0}  # seconds


@names_options
@dataclass(frozen=True, slots=True)
class Breaker:
    """A spend *rate* that opens the circuit for everybody in the scope, on top of the budgets.

    Args:
        rate: e.g. ``"$2/minute"`` or ``"$1/minute per user"`` (dollars, per minute or hour): more than this *settled*
            within the window opens the breaker.
        cooldown: seconds for which it stays open before one probe call is let through.
        probe_lease: seconds after which a probe that never came back is forgotten and another one may try.
        on_open: ``"raise"``, or ``"wait"``: calls queue for at most ``wait_timeout`` seconds until it lets them pass.
        wait_timeout: seconds.
        answer: a static reply to give instead of raising while it is open: text, or a callable that takes the error.

    Raises:
        ConfigurationError: the rate is not in dollars per minute or hour, or a time is not positive.
    """

    rate: str | Budget
    cooldown: float = 30.0
    probe_lease: float = 60.0
    on_open: Literal["raise", "wait"] = "raise"
    wait_timeout: float = 60.0
    answer: str | Callable[[SpendLimitExceeded], str] | None = None

    def __post_init__(self) -> None:
        check_kind("rate", self.rate, (str, Budget), 'a rate such as "$2/minute"')
        self.budget()
        check_answer(self.answer)
        check_choice("on_open", self.on_open, ("raise", "wait"))
        number("wait_timeout", self.wait_timeout, at_least=0)
        number("cooldown", self.cooldown, above=0)
        number("probe_lease", self.probe_lease, above=0)

    def budget(self) -> Budget:
        """The rate as a budget, whose limit and window say when the breaker opens."""
        budget = Budget.parse(self.rate) if isinstance(self.rate, str) else self.rate
        if budget.unit != "usd" or budget.window not in _WIDTHS:
            raise ConfigurationError(
                f'a breaker watches a spend rate, such as "$2/minute per user"; got {str(budget)!r}'
            )
        return budget

    def gate(self, rate: Budget, scope: Scope) -> Gate:
        """The counter store's gate for one scope of ``rate``, which is :meth:`budget` parsed once."""
        key = f"gate:{rate.key(scope)}"
        return Gate(key, rate.amount, _WIDTHS[rate.window], self.cooldown, self.probe_lease)
