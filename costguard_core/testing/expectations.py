"""What the fixture of the pytest plugin gives to a test."""

from __future__ import annotations

from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.reports.report import Totals
from costguard_core.simulate import Simulator
from costguard_core.util.numbers import number


class CostTest:
    """A guard that records every call of a test, and a provider that answers without a key and a network.

    Attributes:
        guard: give it to the models, handlers and caches of the test.

    Args:
        options: arguments of :class:`CostGuard`.
    """

    def __init__(self, **options: Any) -> None:
        self.guard = CostGuard(**options)
        self._provider: Simulator | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._provider is not None:
            self._provider.stop()
        self.guard.close()

    @property
    def provider(self) -> Simulator:
        """The simulated provider, started when it is first asked for; ``provider.reply`` scripts its answers.

        Raises:
            MissingExtraError: the extra ``demo`` is not installed.
        """
        if self._provider is None:
            self._provider = Simulator().start()
        return self._provider

    @property
    def base_url(self) -> str:
        """What to give to a client as its base URL; any key will do."""
        return self.provider.base_url

    @property
    def totals(self) -> Totals:
        """What the calls of the test add up to so far."""
        self.guard.flush()
        return self.guard.report().total

    @property
    def spent_usd(self) -> Decimal:
        """Dollars spent so far, at list prices."""
        return self.totals.spend_usd

    def expect(
        self,
        *,
        max_usd: str | float | Decimal | None = None,
        max_calls: int | None = None,
        min_hit_rate: float | None = None,
    ) -> None:
        """Fail the test if its calls so far cost too much, were too many, or were answered too rarely from a cache.

        Args:
            max_usd: dollars; calls of unknown cost fail it.
            max_calls: calls that were paid for.
            min_hit_rate: hits per answered call, 0 to 1.

        Raises:
            AssertionError: an expectation is not met; the text says by how much.
            ConfigurationError: nothing is expected, or a number cannot be used.
        """
        if max_usd is None and max_calls is None and min_hit_rate is None:
            raise ConfigurationError("expect(...) wants at least one of max_usd, max_calls, min_hit_rate")
        most = None if max_usd is None else Decimal(str(max_usd))
        if min_hit_rate is not None:
            number("min_hit_rate", min_hit_rate, at_least=0, at_most=1)
        totals = self.totals
        missed = []
        if most is not None and totals.unpriced:
            missed.append(f"{totals.unpriced} calls have an unknown cost: declare prices")
        if most is not None and totals.spend_usd > most:
            missed.append(f"spent ${totals.spend_usd:f}, expected at most ${most:f}")
        if max_calls is not None and totals.paid > max_calls:
            missed.append(f"{totals.paid} paid calls, expected at most {max_calls}")
        if min_hit_rate is not None and totals.hit_rate < min_hit_rate:
            missed.append(f"hit rate {totals.hit_rate:.0%}, expected at least {min_hit_rate:.0%}")
        if missed:
            raise AssertionError("; ".join(missed))
