"""The rules of caches in a policy file, for caches that were given none of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

C = TypeVar("C")


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
