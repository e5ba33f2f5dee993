"""LLMs for one call: with the output limit that a budget set, and with clients that say what the call consumed.

For one call the integration's method runs on an LLM with the same settings, whose private attributes hand out its
clients recorded. The LLM itself, its clients and what they send stay untouched.
"""

from __future__ import annotations

from inspect import isroutine
from typing import TYPE_CHECKING, Any

from costguard_core.usage.client_reports import ClientReports
from costguard_core.usage.recorded_client import RecordedClient, recorded

if TYPE_CHECKING:
    from llama_index.core.llms import LLM


def capped(llm: LLM, name: str, tokens: int) -> LLM:
    """A copy of ``llm`` for one call, whose setting ``name`` limits the answer to ``tokens``.

    ``name`` is a field, or an entry of one, or of what the LLM keeps to itself: ``"_generation_config.max_tokens"``.
    """
    setting, _, entry = name.partition(".")
    value = {**(getattr(llm, setting) or {}), entry: tokens} if entry else tokens
    private = llm.__pydantic_private__
    copy = llm.model_copy(update={} if setting.startswith("_") else {setting: value})
    # Shared, not copied: a client that the integration makes at its first call must be there for the next one.
    shared = {**(private or {}), setting: value} if setting.startswith("_") else private
    object.__setattr__(copy, "__pydantic_private__", shared)
    return copy


def recording(llm: LLM, reports: ClientReports) -> LLM:
    """``llm`` for one call, with clients that tell ``reports`` what they are answered. Its settings are the same."""
    private = llm.__pydantic_private__
    if not private:
        return llm
    seen_as = type(llm).__new__(type(llm))
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__"):
        object.__setattr__(seen_as, name, getattr(llm, name))
    object.__setattr__(seen_as, "__pydantic_private__", _Private(private, reports))
    return seen_as


class _Private(dict[str, Any]):
    """An LLM's private attributes: clients are read wrapped; what is set reaches the LLM that was copied."""

    def __init__(self, shared: dict[str, object], reports: ClientReports) -> None:
        super().__init__(shared)
        self._shared, self._reports = shared, reports

    def __getitem__(self, name: str) -> Any:
        value = self._shared[name]
        return value if isroutine(value) else recorded(value, self._reports)

    def __setitem__(self, name: str, value: object) -> None:
        # A client that the integration makes at its first call must be there for the next one.
        bare = value.__wrapped__ if type(value) is RecordedClient else value
        super().__setitem__(name, bare)
        self._shared[name] = bare
