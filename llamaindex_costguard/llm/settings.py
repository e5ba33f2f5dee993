"""What a guarded LLM knows beyond its own settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from costguard_core import CostGuard
from costguard_core.lifecycle.model_settings import ModelSettings
from llamaindex_costguard.caches.base import Cache
from llamaindex_costguard.translate.keys import SettingsMemory
from llamaindex_costguard.translate.parameters import model_settings

if TYPE_CHECKING:
    from llama_index.core.llms import LLM


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Guarding:
    """What a guarded LLM knows beyond its own settings. Copies of it share this. ``name`` is what pickles call it."""

    name: str
    guard: CostGuard
    cache: Cache | None
    inner: type[LLM]
    stream_usage: bool = True
    fixed_output: bool = False
    billed_attempts: int = 1
    account: str | None = None
    settings: SettingsMemory[ModelSettings] = field(default_factory=lambda: SettingsMemory(model_settings))

    def parts(self) -> tuple[object, ...]:
        """What it is made from again, after its name."""
        options = (self.stream_usage, self.fixed_output, self.billed_attempts, self.account)
        return (self.guard, self.cache, self.inner, *options)

    def __deepcopy__(self, memo: dict[int, Any]) -> Guarding:
        return self
