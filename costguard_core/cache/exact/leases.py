"""Cross-process leases: those we hold are renewed in the background, and those we are done with are released there.

A lease is short and renewed, so that a process that dies blocks the others for ``TTL_SECONDS`` at most, and a slow
provider does not look like a dead process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from uuid import uuid4

from costguard_core.cache.exact.stores.base import CacheStore
from costguard_core.util.batch_worker import BatchWorker

TTL_SECONDS = 5.0  # a choice: how long the others wait for a process that died, at most


class _Ended(NamedTuple):
    key: str
    owner: str
    declined: bool


class Leases:
    """The leases that this process holds in one store. A forked child holds none of them.

    Args:
        store: where leases are kept.
        alive: whether the leader of a key is still at work; a lease whose leader is gone is released.
        ttl: seconds for which a lease is taken. It is renewed three times as often.
        new_owner: makes the name under which a lease is taken, different each time.
    """

    def __init__(
        self,
        store: CacheStore,
        alive: Callable[[str], bool],
        *,
        ttl: float = TTL_SECONDS,
        new_owner: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._store, self._alive, self._ttl, self._new_owner = store, alive, ttl, new_owner
        self._held: dict[str, str] = {}
        self._worker: BatchWorker[_Ended] = BatchWorker(
            self._release_all,
            name="costguard-leases",
            interval=0.0,
            patience=0.0,
            retry=False,
            period=ttl / 3,
            on_period=self._renew_all,
            on_fork=self._held.clear,
        )

    def acquire(self, key: str) -> bool | str:
        """True: the lease is ours. Otherwise who holds it."""
        owner = self._new_owner()
        holder = self._store.lease(key, owner, self._ttl)
        return self._acquired(key, owner) if holder == owner else holder

    async def aacquire(self, key: str) -> bool | str:
        """:meth:`acquire` without blocking the loop."""
        owner = self._new_owner()
        holder = await self._store.alease(key, owner, self._ttl)
        return self._acquired(key, owner) if holder == owner else holder

    def release(self, key: str, *, declined: bool = False) -> None:
        """End our lease, soon and in the background: callers may be in an event loop."""
        owner = self._held.pop(key, None)
        if owner is not None:
            self._worker.put(_Ended(key, owner, declined))

    def _acquired(self, key: str, owner: str) -> bool:
        self._held[key] = owner
        self._worker.wake()
        return True

    def _release_all(self, ended: list[_Ended]) -> None:
        for key, owner, declined in ended:
            with suppress(Exception):  # it will expire
                self._store.unlease(key, owner, declined=declined)

    def _renew_all(self) -> bool:
        """Renew what is held. Whether there is anything to renew later."""
        for key, owner in list(self._held.items()):
            if not self._alive(key):
                self.release(key)
            elif key in self._held:
                with suppress(Exception):
                    self._store.lease(key, owner, self._ttl)
        return bool(self._held)
