"""Pickled LLMs find their bill again: in this process and in the ones it forks, not beyond: a bill is not data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from costguard_core import ConfigurationError

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from llamaindex_costguard.guarding import Guarding

T = TypeVar("T")

_known: WeakValueDictionary[str, Any] = WeakValueDictionary()


class Named(Protocol):
    """What cannot be pickled, and is found again by its name."""

    @property
    def name(self) -> str: ...


def remember(settings: Named) -> None:
    """Let a pickle of an LLM with these settings come back with them."""
    _known[settings.name] = settings


def known(name: str, kind: type[T]) -> T | None:
    """What was remembered under this name, if anybody still has it."""
    found = _known.get(name)
    return found if isinstance(found, kind) else None


def reduced(llm: Any, settings: Guarding) -> tuple[Any, tuple[Any, ...]]:
    """What pickle is to write: the bare LLM, and which bill it is on."""
    bare = llm.model_copy()
    object.__setattr__(bare, "__class__", settings.inner)
    bare.__dict__.pop("_costguard", None)
    return _restored, (bare, settings.name)


def _restored(bare: LLM, name: str) -> LLM:
    from llamaindex_costguard.guarded import put_on_bill
    from llamaindex_costguard.guarding import Guarding

    settings = known(name, Guarding)
    if settings is None:
        raise ConfigurationError(
            "this pickled LLM was guarded, and its guard is not in this process; "
            "pickle the LLM that it was made from, and call guard_llm where it is loaded"
        )
    return put_on_bill(bare, settings)
