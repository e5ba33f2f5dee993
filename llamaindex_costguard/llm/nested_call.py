"""A call that is made inside another one, which is on the bill already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard_core import CostGuard
from costguard_core.lifecycle.nesting import report_part
from llamaindex_costguard.translate.prompts import Prompt
from llamaindex_costguard.translate.responses import RESPONSES, usage_of


class NestedCall:
    """A call inside one that is counted already: it is made, and tells what it consumed."""

    __slots__ = ("_guard", "_kwargs", "_made_by", "_prompt")

    def __init__(
        self, bare: Any, method: str, prompt: Prompt, kwargs: Mapping[str, Any], guard: CostGuard | None
    ) -> None:
        self._made_by, self._prompt, self._kwargs, self._guard = getattr(bare, method), prompt, kwargs, guard

    def run(self) -> Any:
        arguments, more = self._prompt.arguments
        made = self._made_by(*arguments, **more, **self._kwargs)
        if self._guard is not None and isinstance(made, RESPONSES) and (usage := usage_of(made, None)) is not None:
            report_part(self._guard, usage)
        return made

    async def arun(self) -> Any:
        made = await self.stream()
        if self._guard is not None and isinstance(made, RESPONSES) and (usage := usage_of(made, None)) is not None:
            report_part(self._guard, usage)
        return made

    def stream(self) -> Any:
        arguments, more = self._prompt.arguments
        return self._made_by(*arguments, **more, **self._kwargs)

    async def astream(self) -> Any:
        return await self.stream()
