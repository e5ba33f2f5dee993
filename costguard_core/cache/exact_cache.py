"""The exact cache that both adapters derive theirs from: options, care and counts. An adapter adds how a request is
read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from costguard_core.cache.declared import FollowsRules
from costguard_core.cache.exact.engine import AnswerCache
from costguard_core.cache.exact.stores import CacheStore, open_cache_store
from costguard_core.cache.keys import NotCanonical, Uncacheable
from costguard_core.cache.layers import CacheLayer
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.stats import CacheStats, stats_table
from costguard_core.errors import ConfigurationError
from costguard_core.util.numbers import whole_number
from costguard_core.util.options import check_like, check_text, names_options
from costguard_core.util.urls import has_credentials, printable

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

_log = logging.getLogger("costguard.cache")


class BaseExactCache(FollowsRules):
    """Answers to identical requests, each paid for once.

    Looking up never raises (a failure is a miss), and neither does storing (a failure is logged and counted): a broken
    cache does not cost the user the answer. Every hit is a fresh copy.
    """

    engine: AnswerCache

    @names_options
    def __init__(
        self,
        url: str | CacheStore = "memory://",
        *,
        ttl: float | None = None,
        policy: CachePolicy | None = None,
        namespace: str = "costguard",
        guard: CostGuard | None = None,
        max_entries: int | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Args:
            url: ``memory://`` (bounded), ``sqlite:///path.db``, ``redis://host:6379/0``, ``memcached://host,host2``;
                or an open store.
            ttl: seconds an entry lives, give or take ``policy.ttl_jitter``; shorthand for ``policy.ttl``.
            policy: what may be cached and who shares it; by default tenants never share.
            namespace: separates caches in one store; ``clear()`` clears only this one.
            guard: whose price list says what a hit saved, where the framework does not say which guard asks.
            max_entries, max_bytes: bounds of a store in memory or SQLite.
            clock: unix seconds.

        Raises:
            ConfigurationError: a URL or an option that cannot be used.
        """
        for name, bound in (("max_entries", max_entries), ("max_bytes", max_bytes)):
            if bound is not None:
                whole_number(name, bound, at_least=1)
        check_text("namespace", namespace, '"costguard"')
        bounds = {"namespace": namespace, "max_entries": max_entries, "max_bytes": max_bytes}
        self._made_from = (url, {**bounds, "ttl": ttl, "policy": policy, "clock": clock})
        if isinstance(url, str):
            url = open_cache_store(url, namespace=namespace, max_entries=max_entries, max_bytes=max_bytes, clock=clock)
        check_like("url", url, ("get", "put", "shared"), 'a URL such as "sqlite:///costguard.db", or an open store')
        if guard is not None:
            check_like("guard", guard, ("prices", "ledger"), "a CostGuard")
        self.policy = self._rules(policy, ttl)
        self.engine = AnswerCache(url, self.policy, clock=clock)
        self.guard = guard
        self._name = token_hex(8)  # under which a pickle finds it again

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # a copied model keeps its cache

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """Where this cache lives, a pickle is it again; elsewhere it is a cache with the same options.

        Raises:
            ConfigurationError: its store was handed in, or its URL holds a password, which a pickle would show.
        """
        url, options = self._made_from
        if not isinstance(url, str) or has_credentials(url):
            shown = printable(url) if isinstance(url, str) else type(url).__name__
            raise ConfigurationError(
                f"a cache over {shown!r} cannot be pickled: make the cache where the model is loaded, or use a store "
                'without a password such as "sqlite:///costguard.db"'
            )
        _here[self._name] = self
        return _unpickled, (type(self), self._name, url, options, self.guard)

    def __repr__(self) -> str:
        return f"ExactCache({self.engine.store.url!r})"

    def _repr_html_(self) -> str:
        return stats_table(repr(self), self.stats())

    def clear(self) -> None:
        """Delete the entries of this namespace, and nothing else in the store."""
        self.engine.clear()

    async def aclear(self) -> None:
        """:meth:`clear` for an event loop."""
        await self.engine.aclear()

    def invalidate(self, **tags: str) -> int:
        """Delete entries that carry all the tags, e.g. ``invalidate(document="faq-7")``; returns how many.

        Tags: ``model``, ``endpoint``, ``template``, ``document``, ``user``, ``tenant``, as given to ``attribute``.
        memcached cannot count: it returns -1, or 0 where no entry can have carried them.
        """
        return self.engine.invalidate(**tags)

    async def ainvalidate(self, **tags: str) -> int:
        """:meth:`invalidate` for an event loop."""
        return await self.engine.ainvalidate(**tags)

    def stats(self) -> CacheStats:
        """Hits, misses, what was saved, what was declined and why."""
        return self.engine.stats()

    def _declined(self, why: Uncacheable | Exception) -> list[CacheLayer]:
        """The layers of a request that has no key, or whose key could not be made: none, which is counted."""
        if isinstance(why, Uncacheable):
            self.engine.decline(why.reason)
        elif isinstance(why, NotCanonical):
            self.engine.decline(str(why))
        else:
            _log.warning("no cache key could be made (%s); the call goes uncached", type(why).__name__)
            self.engine.decline("no key could be made")
        return []


_here: WeakValueDictionary[str, BaseExactCache] = WeakValueDictionary()


def _unpickled(
    kind: type[BaseExactCache], name: str, url: str, options: dict[str, Any], guard: CostGuard | None
) -> BaseExactCache:
    found = _here.get(name)
    if found is None:
        found = kind(url, guard=guard, **options)
        found._name, _here[name] = name, found
    return found
