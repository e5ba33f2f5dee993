"""Models that are guarded and stay of their own class: a copy whose class is a subclass, with some methods overridden.

A pickle of such a model holds the bare one and the name of its settings. Those are found again in this process and in
the ones that it forks, not beyond, because budgets are not data.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from costguard_core.errors import ConfigurationError

T = TypeVar("T")
_known: WeakValueDictionary[str, Any] = WeakValueDictionary()


class Named(Protocol):
    """What cannot be pickled, and is found again by its name."""

    @property
    def name(self) -> str: ...


def of_class(model: T, kind: type, field: str, settings: Named | None) -> T:
    """A copy of a pydantic model whose class is ``kind``, with ``settings`` in ``field``; ``None`` takes them away.

    A pickle holds such a copy without settings. Of a component with a part that cannot be pickled, LlamaIndex would
    drop the part.
    """
    copied: Any = model.model_copy()  # type: ignore[attr-defined]
    object.__setattr__(copied, "__class__", kind)
    if settings is None:
        copied.__dict__.pop(field, None)
    else:
        copied.__dict__[field] = settings
        remember(settings)
    return copied  # type: ignore[no-any-return]


def remember(settings: Named) -> None:
    """Let a pickle of a model with these settings come back with them."""
    _known[settings.name] = settings


def known(name: str, kind: type[T]) -> T | None:
    """What was remembered under this name, if anybody still has it."""
    found = _known.get(name)
    return found if isinstance(found, kind) else None


def found(name: str, kind: type[T], function: str) -> T:
    """The settings that a pickle names.

    Raises:
        ConfigurationError: they are not in this process.
    """
    settings = known(name, kind)
    if settings is None:
        raise ConfigurationError(
            "this pickled model was guarded, and its guard is not in this process; "
            f"pickle the model that it was made from, and call {function} where it is loaded"
        )
    return settings


def subclass(mixin: type, inner: type[T]) -> type[T]:
    """``inner`` with the methods of ``mixin``, under the same name: traces and reports show what they showed.

    The methods stay those of the mixin. LlamaIndex wraps what a class itself overrides into a second span.
    """
    names = {"__module__": inner.__module__, "__doc__": inner.__doc__, "__qualname__": inner.__qualname__}
    metaclass: Any = type(inner)
    made: type[T] = metaclass(inner.__name__, (mixin, inner), names)
    return made
