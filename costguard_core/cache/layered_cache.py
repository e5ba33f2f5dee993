"""Several caches as one, Costguard's and others."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

from costguard_core.cache.answer import Answer, CachedAnswer
from costguard_core.cache.secrets import spells_secret
from costguard_core.errors import ConfigurationError
from costguard_core.types import Outcome
from costguard_core.util.options import names_options

if TYPE_CHECKING:
    from costguard_core.cache.policy import CachePolicy
    from costguard_core.guard import CostGuard

_log = logging.getLogger("costguard.cache")


class ClearableCache(Protocol):
    """What a framework calls a cache."""

    @property
    def clear(self) -> Callable[..., None]: ...
    @property
    def aclear(self) -> Callable[..., Awaitable[None]]: ...


C = TypeVar("C", bound=ClearableCache)


@names_options
class BaseLayeredCache(Generic[C]):
    """Several caches as one: asked in order, and a hit in a later one fills the earlier ones.

    A semantic hit fills no exact cache: there it could not be refuted.

    Raises:
        ConfigurationError: no layer.
    """

    def __init__(self, layers: Sequence[C]) -> None:
        given: Any = layers  # or whatever else was handed in
        if not isinstance(given, Sequence) or not given:
            raise ConfigurationError("a LayeredCache needs a list of at least one layer")
        for layer in layers:
            self.check_layer(layer)
        self.layers = tuple(layers)

    @abstractmethod
    def check_layer(self, layer: object) -> None:
        """Raises ConfigurationError: it is no cache of this framework."""

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # a copied model keeps its cache

    def __repr__(self) -> str:
        return f"LayeredCache({list(self.layers)!r})"

    def _repr_html_(self) -> str:
        """One table for each layer that has figures."""
        shown: list[Any] = [layer for layer in self.layers if hasattr(layer, "_repr_html_")]
        return "".join([layer._repr_html_() for layer in shown])

    def bind(self, guard: CostGuard | None) -> None:
        """Bind every layer that can be bound."""
        self.guard = guard
        for cache in self.layers:
            if callable(bind := getattr(cache, "bind", None)):
                bind(guard)

    def follow_rules(self, policy: CachePolicy) -> None:
        """Have every layer follow them that was given no rules of its own."""
        for cache in self.layers:
            if callable(follow := getattr(cache, "follow_rules", None)):
                follow(policy)

    def clear(self, **kwargs: object) -> None:
        """Clear every layer. A layer that is not Costguard's gets ``kwargs``."""
        for cache in self.layers:
            cache.clear(**kwargs)

    async def aclear(self, **kwargs: object) -> None:
        """:meth:`clear` for an event loop."""
        for cache in self.layers:
            await cache.aclear(**kwargs)


class ForeignHit(NamedTuple):
    """A :class:`CachedAnswer` from a cache that is not ours: nothing is known of what the answer cost.

    Attributes:
        answer: what was found.
    """

    answer: Answer
    outcome: Outcome = Outcome.EXACT
    cost: None = None
    saved: int = 0
    saved_usd: Decimal = Decimal(0)
    marks: Mapping[str, Any] = MappingProxyType({})

    @property
    def payload(self) -> object:
        return self.answer.payload


class ForeignCache(Protocol):
    """A cache that is not ours, asked for one request; an adapter knows how. Any method may raise.

    ``name`` is for the log.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> Answer | None:
        """The answer, or ``None`` if there is none that could be given back."""

    async def aread(self) -> Answer | None: ...
    def write(self, answer: Answer) -> None: ...
    async def awrite(self, answer: Answer) -> None: ...


class ForeignLayer:
    """A cache that is not ours as a layer. A failure is a miss, or an answer that is not kept."""

    approximate = False

    def __init__(self, cache: ForeignCache) -> None:
        self._cache = cache

    def find(self) -> CachedAnswer | None:
        try:
            return _hit(self._cache.read())
        except Exception as error:
            self._failed("lookup", error)
            return None

    async def afind(self) -> CachedAnswer | None:
        try:
            return _hit(await self._cache.aread())
        except Exception as error:
            self._failed("lookup", error)
            return None

    def store(self, answer: Answer) -> None:
        try:
            self._cache.write(answer)
        except Exception as error:
            self._failed("update", error)

    async def astore(self, answer: Answer) -> None:
        try:
            await self._cache.awrite(answer)
        except Exception as error:
            self._failed("update", error)

    def decline(self, reason: str) -> None:
        """Nothing to count."""

    def _failed(self, what: str, error: Exception) -> None:
        _log.warning("%s: %s failed; the answer is unaffected (%s)", self._cache.name, what, type(error).__name__)


def _hit(answer: Answer | None) -> CachedAnswer | None:
    return None if answer is None else ForeignHit(answer)


def scoped_string(model: str, tenant: str | None) -> str:
    """What names a model to a cache that is not ours: it knows no tenants, and writes the name down as it is.

    Unchanged where nobody names a tenant and no header or argument in it authenticates; else a digest stands for it.
    """
    safe = f"sha256:{sha256(model.encode()).hexdigest()}" if spells_secret(model) else model
    return safe if tenant is None else f"{safe}---[('tenant', {tenant!r})]"
