"""For tests of the real integrations, which leave the connections of their clients open."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

IGNORED_WARNINGS = [  # the integrations are not all up to date themselves
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
"""The marks of a module that has such tests."""


@contextmanager
def collected_afterwards() -> Iterator[None]:
    """What is still open at the end of the block is collected there, not in the middle of another test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask another host for its prices
        yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
