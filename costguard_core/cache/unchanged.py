"""What was worked out of a model, remembered for as long as all that it is made of stays what it was.

Working out a model's identity takes longer than a hit should; comparing its fields with a copy of them does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

T = TypeVar("T")

_CHANGING: object = object()
"""Stands in a copy for a value whose changes cannot be noticed: it equals nothing."""


class WhileUnchanged(ABC, Generic[T]):
    """Remembers one value for each model.

    Attributes:
        ignored: names of fields that say nothing.
        copied: types of values, beside the containers of Python, that are compared with a copy.
        changing: types of values whose changes cannot be noticed.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    copied: ClassVar[tuple[type, ...]] = ()
    changing: ClassVar[tuple[type, ...]] = ()

    def __init__(self) -> None:
        self._seen: dict[int, tuple[ref[object], Mapping[str, object], T]] = {}

    def of(self, model: Any) -> T:
        """The value for a model as it is now. Raises what working it out raises."""
        fields, key = self.fields(model), id(model)
        seen = self._seen.get(key)
        try:
            if seen is not None and seen[0]() is model and seen[1] == fields:
                return seen[2]
        except Exception:  # noqa: S110 -- a field that cannot be compared: worked out again
            pass
        copy = {name: self._copy(name, value) for name, value in fields.items()}
        found = self.work_out(model, fields)
        self._seen[key] = (ref(model, self._forgetter(key)), copy, found)
        return found

    @abstractmethod
    def fields(self, model: Any) -> Mapping[str, Any]:
        """All that the value depends on."""

    @abstractmethod
    def work_out(self, model: Any, fields: Mapping[str, Any]) -> T:
        """The value."""

    def _copy(self, name: str, value: object) -> object:
        if name in self.ignored or not isinstance(value, (list, tuple, Mapping, set, *self.copied, *self.changing)):
            return value
        if isinstance(value, self.changing):
            return _CHANGING
        try:
            return deepcopy(value)
        except Exception:
            return _CHANGING

    def _forgetter(self, key: int) -> Callable[[object], None]:
        return lambda _: self._seen.pop(key, None) and None


class OncePerClass:
    """A function of any value, called once for each class among them: an object may change after it was seen."""

    def __init__(self, function: Callable[[object], object]) -> None:
        self._function = function
        self._known: WeakKeyDictionary[type, Any] = WeakKeyDictionary()

    def __call__(self, value: object) -> Any:
        if not isinstance(value, type):
            return self._function(value)
        known = self._known.get(value)
        if known is None:
            known = self._known[value] = self._function(value)
        return known
