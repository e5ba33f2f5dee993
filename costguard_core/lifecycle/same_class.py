"""Models that are guarded and stay of their own class: a copy whose class is a subclass, with some methods overridden.

A pickle of such a model holds the bare one, the name of its settings, and what they are made from. In this process and
in the ones that it forks they are found again by their name; elsewhere they are made again, over the same shared store.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from inspect import isfunction, unwrap
from types import CodeType
from typing import Any, NamedTuple, Protocol, TypeVar
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


class Recipe(NamedTuple):
    """What a pickle holds of settings.

    Attributes:
        name: under which they are found again where they are.
        parts: what they are made from again in another process, pickled; ``None``: they cannot be.
        problem: why they cannot be.
    """

    name: str
    parts: bytes | None
    problem: str = ""


def recipe(name: str, *parts: object) -> Recipe:
    """What a pickle is to hold of the settings ``name``, which are made from ``parts``."""
    try:
        return Recipe(name, pickle.dumps(parts))
    except Exception as error:
        return Recipe(name, None, str(error))


def restored(
    model: object, recipe: Recipe, kind: type[T], put: Callable[[Any, T], Any], make: Callable[..., T], mixin: type
) -> Any:
    """The guarded model that a pickle holds, with the settings of this process, or with ones made from their parts.

    Where neither is possible, loading it is no error, for a pool of processes waits for ever for a worker that cannot
    read its task; each of the methods that ``mixin`` guards raises one instead.

    Args:
        model: the bare model.
        recipe: what :func:`recipe` made.
        kind: of the settings.
        put: makes the guarded model from the bare one and the settings.
        make: makes the settings from their name and parts.
        mixin: whose methods are guarded.
    """
    settings = known(recipe.name, kind)
    if settings is None and recipe.parts is not None:
        settings = make(recipe.name, *pickle.loads(recipe.parts))  # noqa: S301 -- a part of what is being unpickled
    return put(model, settings) if settings is not None else unusable(model, mixin, recipe.problem)


def unusable(model: T, mixin: type, problem: str) -> T:
    """A copy of ``model`` whose methods that ``mixin`` guards raise :class:`ConfigurationError`."""
    return of_class(model, subclass(_refusing(mixin, problem), type(model)), "_costguard", None)


def _refusing(mixin: type, problem: str) -> type:
    def refuse(*_: object, **__: object) -> object:
        raise ConfigurationError(
            f"this model was guarded in another process, and its guard cannot be here: {problem or 'it is gone'}. Give "
            "the guard a store that processes share, such as sqlite:///costguard.db, or guard the model in this process"
        )

    guarded = [name for name, member in vars(mixin).items() if isfunction(member) and not name.startswith("__")]
    return type("Unusable", (), dict.fromkeys((*guarded, "__reduce_ex__"), refuse))


def subclass(mixin: type, inner: type[T]) -> type[T]:
    """``inner`` with the methods of ``mixin``, under the same name: traces and reports show what they showed.

    The methods stay those of the mixin. LlamaIndex wraps what a class itself overrides into a second span.
    """
    names = {"__module__": inner.__module__, "__doc__": inner.__doc__, "__qualname__": inner.__qualname__}
    metaclass: Any = type(inner)
    made: type[T] = metaclass(inner.__name__, (mixin, inner), names)
    return made


def names_in(function: Any) -> Iterator[str]:
    """The names of attributes and globals in a function's code, also of the functions inside it and what it wraps."""
    found = [unwrap(function).__code__]
    while found:
        code = found.pop()
        yield from code.co_names
        found += [inner for inner in code.co_consts if isinstance(inner, CodeType)]
