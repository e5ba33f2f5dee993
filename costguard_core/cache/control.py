"""Per-call wishes about the cache, in a context variable like :func:`costguard_core.attribution.attribute`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from costguard_core.util.numbers import number
from costguard_core.util.options import check_flag, names_options


class CacheControl(NamedTuple):
    """``no_cache``: neither look up nor store. ``refresh``: only store. ``ttl``: seconds for what is stored."""

    no_cache: bool = False
    refresh: bool = False
    ttl: float | None = None


_DEFAULT = CacheControl()
_current: ContextVar[CacheControl] = ContextVar("costguard_cache_control", default=_DEFAULT)


@contextmanager
@names_options
def cache_control(
    *, no_cache: bool | None = None, refresh: bool | None = None, ttl: float | None = None
) -> Iterator[CacheControl]:
    """Change how the calls inside the ``with`` block use the cache. Blocks nest: what is not given is inherited.

    ``ttl`` is seconds; zero or less means that nothing is stored.

    Raises:
        ConfigurationError: a switch that is none, or a ``ttl`` that is no number.
    """
    for option, flag in (("no_cache", no_cache), ("refresh", refresh)):
        if flag is not None:
            check_flag(option, flag)
    if ttl is not None:
        number("ttl", ttl)
    around = _current.get()
    given = CacheControl(
        around.no_cache if no_cache is None else no_cache,
        around.refresh if refresh is None else refresh,
        around.ttl if ttl is None else ttl,
    )
    token = _current.set(given)
    try:
        yield given
    finally:
        _current.reset(token)


current_control = _current.get
"""The wishes in force."""
