"""Cross-process leases: a background thread keeps those we hold alive and gives back those we are done with.

A lease is short and renewed, so that a process that dies blocks the others for ``TTL_SECONDS`` at most, and a slow
provider does not look like a dead process. The thread starts with the first lease and ends when none is held.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread
from uuid import uuid4

from costguard_core.cache.exact.stores.base import CacheStore

TTL_SECONDS = 5.0


class Leases:
    """The leases that this process holds in one store. ``alive`` says whether a key's leader is still at work."""

    def __init__(
        self,
        store: CacheStore,
        alive: Callable[[str], bool],
        *,
        ttl: float = TTL_SECONDS,
        name: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self._store, self._alive, self._ttl, self._name = store, alive, ttl, name
        self._changed = Condition()
        self._held: dict[str, str] = {}
        self._done: list[tuple[str, str, bool]] = []
        self._thread: Thread | None = None
        self._pid = os.getpid()

    def take(self, key: str) -> bool | str:
        """True: the lease is ours. Otherwise who holds it."""
        owner = self._name()
        holder = self._store.lease(key, owner, self._ttl)
        return self._taken(key, owner) if holder == owner else holder

    async def atake(self, key: str) -> bool | str:
        """:meth:`take` without blocking the loop."""
        owner = self._name()
        holder = await self._store.alease(key, owner, self._ttl)
        return self._taken(key, owner) if holder == owner else holder

    def give_back(self, key: str, *, declined: bool = False) -> None:
        """End our lease, soon and in the background: callers may be in an event loop or in a finaliser."""
        with self._changed:
            owner = self._held.pop(key, None)
            if owner is not None:
                self._done.append((key, owner, declined))
                self._changed.notify()

    def _taken(self, key: str, owner: str) -> bool:
        with self._changed:
            if self._pid != os.getpid():  # forked: what the parent holds is the parent's
                self._held.clear()
                self._done.clear()
                self._pid, self._thread = os.getpid(), None
            self._held[key] = owner
            if self._thread is None:
                self._thread = Thread(target=self._keep, name="costguard-leases", daemon=True)
                self._thread.start()
        return True

    def _keep(self) -> None:
        while True:
            with self._changed:
                if not self._held and not self._done:
                    self._thread = None
                    return
                if not self._done:
                    self._changed.wait(self._ttl / 3)
                done, self._done = self._done, []
                held = list(self._held.items())
            for key, owner, declined in done:
                with suppress(Exception):  # it will expire
                    self._store.unlease(key, owner, declined=declined)
            if not done:
                self._renew(held)

    def _renew(self, held: list[tuple[str, str]]) -> None:
        for key, owner in held:
            if not self._alive(key):
                self.give_back(key)
                continue
            with suppress(Exception):
                self._store.lease(key, owner, self._ttl)
