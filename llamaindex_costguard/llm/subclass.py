"""How a model keeps its class and changes its methods."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def subclass(mixin: type, inner: type[T]) -> type[T]:
    """``inner`` with the methods of ``mixin``, under the same name: traces and reports show what they showed.

    The methods stay those of the mixin. LlamaIndex wraps what a class itself overrides into a second span.
    """
    names = {"__module__": inner.__module__, "__doc__": inner.__doc__, "__qualname__": inner.__qualname__}
    metaclass: Any = type(inner)
    made: type[T] = metaclass(inner.__name__, (mixin, inner), names)
    return made
