"""Whose rules a cache keeps answers by: its own, or those of a policy file where it was given none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from costguard_core.cache.policy import CachePolicy

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

C = TypeVar("C")


class FollowsRules:
    """A cache that keeps answers by rules of its own, or else by those of a policy file.

    Attributes:
        policy: the rules.
        engine: the cache behind it, which follows them.
    """

    policy: CachePolicy
    engine: Any

    def _rules(self, policy: CachePolicy | None, ttl: float | None) -> CachePolicy:
        """The rules that the cache was made with; a ``ttl`` wins over theirs and over those of a file."""
        self._ttl, self._has_rules = ttl, policy is not None
        return CachePolicy.of(policy, ttl)

    def follow_rules(self, policy: CachePolicy) -> None:
        """Keep answers by the rules of a policy file, unless it was made with ``policy=`` or follows one already."""
        if not self._has_rules:
            self._has_rules, self.policy = True, CachePolicy.of(policy, self._ttl)
            self.engine.policy = self.policy
            self.__dict__.pop("keys", None)  # made of the rules before


def under_rules(cache: C, guard: CostGuard) -> C:
    """``cache``, by the rules of the policy file that ``guard`` was made from: ``[cache]`` and those of each endpoint.

    A cache with ``policy=`` keeps its own, and one that follows a file already stays with it; ``ttl=`` wins over the
    file's. What is no cache of Costguard's is only returned.
    """
    if guard.policy is not None and callable(follow := getattr(cache, "follow_rules", None)):
        follow(guard.policy.cache)
    return cache


def bound(cache: C, guard: CostGuard) -> C:
    """``cache``, by the rules of the file (:func:`under_rules`), with what it pays for itself on the bill of ``guard``.

    ``None`` and what cannot be bound is only returned.
    """
    if callable(bind := getattr(cache, "bind", None)):
        bind(guard)
    return under_rules(cache, guard)
