"""The bounded map: what goes when it is full, what is too old, threads and forks."""

from __future__ import annotations

import copy
import threading

from costguard_core.util.lru import LRUMap


def test_the_value_used_least_recently_goes() -> None:
    values: LRUMap[str, int] = LRUMap(2)
    values.put("a", 1)
    values.put("b", 2)
    assert values.get("a") == 1
    values.put("c", 3)
    assert (values.get("a"), values.get("b"), values.get("c"), len(values)) == (1, None, 3, 2)


def test_a_value_is_gone_after_its_time() -> None:
    now = [0.0]
    values: LRUMap[str, int] = LRUMap(10, ttl=5.0, clock=lambda: now[0])
    values.put("a", 1)
    now[0] = 4.0
    assert ("a" in values, values.get("a", 0)) == (True, 1)
    now[0] = 6.0
    assert ("a" in values, values.get("a", 0), values.pop("a"), len(values)) == (False, 0, None, 0)


def test_a_missing_value_is_made_once_and_kept() -> None:
    values: LRUMap[str, list[int]] = LRUMap(10)
    made = values.get_or("a", list)
    made.append(1)
    assert values.get_or("a", list) is made
    assert values.setdefault("a", []) is made
    assert values.pop("a") is made
    assert values.pop("a", None) is None
    assert values.setdefault("a", [2]) == [2]
    values.clear()
    assert len(values) == 0


def test_none_is_a_value() -> None:
    values: LRUMap[str, None] = LRUMap(10)
    values.put("a", None)
    assert "a" in values
    assert values.get("a", "missing") is None


def test_making_a_value_may_use_the_map() -> None:
    values: LRUMap[int, int] = LRUMap(10)

    def fibonacci(n: int) -> int:
        return values.get_or(n, lambda: n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2))

    assert fibonacci(30) == 832_040
    assert len(values) == 10


def test_threads_share_a_map() -> None:
    values: LRUMap[int, int] = LRUMap(100)
    problems: list[Exception] = []

    def work(start: int) -> None:
        try:
            for number in range(start, start + 2000):
                values.put(number % 150, number)
                values.get(number % 70)
                values.pop(number % 30)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(values) <= 100


def test_a_copy_goes_its_own_way() -> None:
    values: LRUMap[str, list[int]] = LRUMap(2)
    values.put("a", [1])
    copied = copy.deepcopy(values)
    copied.put("b", [2])
    assert (copied.get("a"), copied.get("b"), values.get("b"), len(values)) == ([1], [2], None, 1)
    shallow = copy.copy(values)
    shallow.put("c", [3])
    assert (shallow.get("a"), values.get("c")) == ([1], None)
