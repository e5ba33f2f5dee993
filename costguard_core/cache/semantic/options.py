"""What a semantic cache may be told."""

from __future__ import annotations

from typing import Any

from costguard_core.errors import ConfigurationError


def check(decide: Any, threshold: float, max_error: float, audit: float, *, max_entries: int, max_scopes: int) -> None:
    """Raises:
    ConfigurationError: an option is out of its range; the message says the range.
    """
    if decide not in ("guarded", "calibrated"):
        raise ConfigurationError(f'decide={decide!r} is not known; use "guarded" or "calibrated"')
    if not 0 < threshold <= 1:
        raise ConfigurationError("threshold is a cosine similarity, above 0 and up to 1 (higher is stricter)")
    if not 0 < max_error < 0.5:
        raise ConfigurationError("max_error is the share of hits that may be wrong, above 0 and below 0.5")
    if not 0 <= audit <= 1:
        raise ConfigurationError("audit is a share of the hits, from 0 to 1")
    if max_entries < 1 or max_scopes < 1:
        raise ConfigurationError("max_entries and max_scopes are at least 1")
