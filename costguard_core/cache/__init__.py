"""Pay once for each identical request: keys, policy, stores, single flight. Knows no framework."""

from __future__ import annotations

from costguard_core.cache.answer import Answer, CachedAnswer, ExactHit
from costguard_core.cache.control import CacheControl, cache_control, current_control
from costguard_core.cache.exact.engine import AnswerCache, FlightHandle
from costguard_core.cache.exact.stores import CacheStore, MemoryStore, StoreStats, open_cache_store
from costguard_core.cache.keys import CacheKey, NotCanonical, Uncacheable, canonical, request_digest
from costguard_core.cache.policy import CachePolicy, Classification, Request, classify, is_dynamic, is_personal
from costguard_core.cache.stats import CacheStats
from costguard_core.cache.vectors import VectorCache

__all__ = [
    "Answer",
    "AnswerCache",
    "CacheControl",
    "CacheKey",
    "CachePolicy",
    "CacheStats",
    "CacheStore",
    "CachedAnswer",
    "Classification",
    "ExactHit",
    "FlightHandle",
    "MemoryStore",
    "NotCanonical",
    "Request",
    "StoreStats",
    "Uncacheable",
    "VectorCache",
    "cache_control",
    "canonical",
    "classify",
    "current_control",
    "is_dynamic",
    "is_personal",
    "open_cache_store",
    "request_digest",
]
