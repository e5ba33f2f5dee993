"""A memory of what happened lately."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """Values by key, which are forgotten after ``retention`` seconds, or when there are more than ``most``."""

    def __init__(self, retention: float, most: int | None) -> None:
        self._retention, self._most = retention, most
        self._values: dict[str, _T] = {}
        self._order: deque[tuple[float, str]] = deque()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def put(self, key: str, value: _T, now: float) -> None:
        self._values[key] = value
        order = self._order
        order.append((now, key))
        while order[0][0] < now - self._retention or (self._most is not None and len(order) > self._most):
            self._values.pop(order.popleft()[1], None)

    def pop(self, key: str) -> _T | None:
        return self._values.pop(key, None)
