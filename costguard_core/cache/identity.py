"""Which model a request is for, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costguard_core.cache.keys import canonical
from costguard_core.cache.provider_tools import has_live_option, is_live_model

_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")


@dataclass(frozen=True, slots=True)
class Identity:
    """A model as it is now.

    Attributes:
        path: its class.
        parameters: what can change an answer.
        text: the canonical form of both.
        name: what the provider calls it.
        live: it was made with options, or has a name, by which it reads the world at the time of a call.
        caller: who signs in by its headers, as of :func:`~costguard_core.cache.parameters.caller_of`.
    """

    path: tuple[str, ...]
    parameters: Mapping[str, Any]
    text: str
    name: str | None
    live: bool = False
    caller: str = ""

    @classmethod
    def of(cls, path: tuple[str, ...], parameters: Mapping[str, Any], caller: str = "") -> Identity:
        """From its class and the parameters that can change an answer.

        Raises:
            NotCanonical: a parameter cannot be written down.
        """
        names = [name for name in map(parameters.get, _MODEL_NAMES) if isinstance(name, str) and name]
        name = names[0] if names else None
        live = is_live_model(name) or has_live_option(parameters)
        return cls(path, parameters, canonical([path, parameters]), name, live, caller)

    def called_with(self, call: dict[str, object], same: frozenset[str]) -> tuple[Identity, dict[str, object]]:
        """The identity for one call, and what of its arguments is left beside it.

        ``same`` are the names that mean the same, given to the model or to the call.
        """
        moved = {name: call.pop(name) for name in same & call.keys() if call[name] is not None}
        return (Identity.of(self.path, {**self.parameters, **moved}, self.caller) if moved else self), call
