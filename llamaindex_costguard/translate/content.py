"""What a request asks, as caches and keys see it: settings, prompt, arguments, and what the prompt was made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard_core import Attribution
from costguard_core.cache.semantic.template import Retrieved
from costguard_core.lifecycle.model_settings import ModelSettings
from llamaindex_costguard.translate.prompts import Prompt


class RequestContent:
    """One request, translated once.

    Attributes:
        settings: what the LLM's settings say about each of its calls.
        prompt: a chat, a text, or a template to be answered with an object.
        kwargs: the arguments of the call.
        retrieved: what the prompt was filled with, if it came from a template.
        attribution: who asks.
    """

    __slots__ = ("_rows", "attribution", "kwargs", "prompt", "retrieved", "settings")

    def __init__(
        self,
        settings: ModelSettings,
        prompt: Prompt,
        kwargs: Mapping[str, object],
        retrieved: Retrieved | None,
        attribution: Attribution,
    ) -> None:
        self.settings, self.prompt, self.kwargs = settings, prompt, kwargs
        self.retrieved, self.attribution = retrieved, attribution
        self._rows: list[Any] | None = None

    @property
    def rows(self) -> list[Any]:
        """The prompt as canonical rows.

        Raises:
            NotCanonical: a part without an exact written form.
        """
        if self._rows is None:
            self._rows = self.prompt.rows()
        return self._rows
