"""One tree of errors. Every error carries its numbers as attributes; no error carries prompt text or a secret.

A refusal is no ``RuntimeError``, ``ValueError`` or ``TypeError``, because LlamaIndex does not let those reach the user:
``llama_index.core.async_utils.asyncio_run`` raises "Detected nested async" for any ``RuntimeError``, and
``response_synthesizers/refine.py`` turns ``ValueError`` and ``TypeError`` into "Empty Response".
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from unicodedata import category

# Unicode categories that move the cursor, reorder a line, or cannot be encoded: control, format, surrogate, and the
# line and paragraph separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"  # format characters that Persian words and composed emoji need, and that do nothing else


def escaped(text: str) -> str:
    """``text`` on one line, with every unsafe character as its Python escape (``\\x1b``)."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    safe = category(character) not in _UNSAFE or character in _JOINERS
    return character if safe else character.encode("unicode_escape").decode("ascii")


class CostGuardError(Exception):
    """Base class of everything that Costguard raises on purpose. Its text can be printed, whatever it quotes."""

    def __str__(self) -> str:
        return "\n".join(map(escaped, super().__str__().split("\n")))

    def __reduce__(self) -> tuple[Callable[..., CostGuardError], tuple[object, ...]]:
        # By default they are rebuilt from their text alone: the numbers are lost, and a process pool hangs.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[CostGuardError], args: tuple[object, ...], attributes: dict[str, object]) -> CostGuardError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class ConfigurationError(CostGuardError, ValueError):
    """A budget, price, URL or option that cannot be used. The text says what to write instead."""


class MissingExtraError(CostGuardError, ImportError):
    """An optional dependency is not installed. The text is the exact ``pip install`` command."""

    def __init__(self, feature: str, extra: str) -> None:
        self.feature, self.extra = feature, extra
        super().__init__(f"{feature} needs an extra: pip install 'langchain-costguard[{extra}]'")


class UnpricedModelError(CostGuardError, LookupError):
    """A money budget applies to a model whose price nobody knows. Nothing was called and nothing was spent."""

    def __init__(self, model: str, provider: str | None = None) -> None:
        self.model, self.provider = model, provider
        where = f" of provider {provider!r}" if provider else ""
        super().__init__(
            f"no price is known for model {model!r}{where}, and a money budget applies to it. Add one (dollars per "
            f'million tokens): CostGuard(prices={{"{model}": {{"input": "2.50", "output": "10"}}}}), or accept a '
            f'ceiling for every unknown model: CostGuard(unpriced={{"input": "15", "output": "75"}})'
        )


class SpendLimitExceeded(CostGuardError):
    """A budget or the breaker said no *before* the provider was called. A refusal consumes nothing.

    ``str(error)`` is for operators; :attr:`public` is for the people who use the application.

    Attributes:
        budget: name of the budget or breaker that refused.
        scope: the scope it counts, e.g. ``{"user": "u1"}`` (empty for everybody).
        unit: ``"usd"``, ``"requests"``, ``"tokens"`` or ``"input tokens"``.
        limit, spent, held, requested: amounts; ``Decimal`` dollars for ``"usd"``, ``int`` otherwise. ``None`` for a
            manual trip, which has no amounts.
        retry_after: seconds until asking again can succeed, or ``None`` when waiting does not help.
        too_large: whether a budget with nothing spent would refuse this call too.
        answer: the budget's static reply (``answer=``), if it has one: text, or a callable taking this error.
        on_exceed: what the budget wants to happen: ``"raise"``, ``"wait"`` or ``"downgrade"``.
    """

    def __init__(
        self,
        message: str,
        *,
        budget: str,
        scope: dict[str, str] | None = None,
        unit: str = "usd",
        limit: Decimal | int | None = None,
        spent: Decimal | int | None = None,
        held: Decimal | int | None = None,
        requested: Decimal | int | None = None,
        retry_after: float | None = None,
        too_large: bool = False,
        answer: str | Callable[[SpendLimitExceeded], str] | None = None,
        on_exceed: str = "raise",
    ) -> None:
        super().__init__(message)
        self.budget, self.scope, self.unit = budget, scope or {}, unit
        self.limit, self.spent, self.held, self.requested = limit, spent, held, requested
        self.retry_after, self.too_large = retry_after, too_large
        self.answer = answer
        self.on_exceed = on_exceed

    @property
    def static_text(self) -> str:
        """The budget's static reply; raises this error if it has none."""
        if self.answer is None:
            raise self
        return self.answer(self) if callable(self.answer) else self.answer

    @property
    def mark(self) -> dict[str, str]:
        """What the metadata of a static reply says of it: a router has something better than one that is meant to be
        downgraded."""
        return {"refused": self.budget, **({"on_exceed": "downgrade"} if self.on_exceed == "downgrade" else {})}

    @property
    def public(self) -> str:
        """A text for end users: it names no budget, no amount and nobody."""
        if self.too_large:
            return "This request is larger than what is allowed here. Please shorten it."
        if self.retry_after is None:
            return "This service is not available at the moment."
        return "The usage limit has been reached for now. Please try again later."


class StoreUnavailable(CostGuardError):
    """The counter store did not answer in time. Hard budgets refuse (see ``Budget(on_store_error=...)``).

    ``unanswered``: it was asked, and may have done what it was asked for.
    """

    def __init__(self, store: str, cause: str, *, unanswered: bool = False) -> None:
        self.store, self.cause, self.unanswered = store, cause, unanswered
        super().__init__(
            f"the counter store {store} is unavailable ({cause}), so a hard budget cannot be checked and the call was "
            f'refused. To let calls through while it is down: Budget(..., on_store_error="open")'
        )
