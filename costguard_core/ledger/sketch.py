"""Latencies as counts in buckets whose bounds grow by 4 %: p50 and p95 within 2 %, and two sketches merge by addition.

DDSketch: Masson, Rim and Lee, https://www.vldb.org/pvldb/vol12/p2195-masson.pdf. A value in the bucket
``(GROWTH ** (n - 1), GROWTH ** n]`` is answered by ``2 * GROWTH ** n / (GROWTH + 1)``, which is at most
``(GROWTH - 1) / (GROWTH + 1)`` = 1.96 % away from it.

A sketch is stored as text, so that any database appends to one with ``||`` and joins many with its own aggregate. Each
character from U+0100 on is one value in the bucket of that number. A sketch that has grown long is folded: ``=``, how
wide a count is (``b`` or ``h``: 2 or 4 hexadecimal digits; nothing: 8), the character of the lowest bucket, the counts
as one hexadecimal number, the lowest bucket last, and ``;``. Characters may follow, and sketches may follow each other.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

GROWTH = 1.04
SMALLEST = 1e-6  # seconds; what is quicker counts as this
LARGEST_BUCKET = 643  # SMALLEST * GROWTH ** 643 seconds: a day; what is slower counts as this
FIRST_CHARACTER = 0x100
LONGEST = 128  # characters, after which a stored sketch is folded: to count so many takes longer than to read it folded

_FEW = 600  # values: up to so many, sorting their numbers is quicker than counting them
_LANE = 32  # bits of one count while sketches are added up
_NARROW = {"b": 1, "h": 2}  # bytes of one count as it is stored, where it is less than that
_WIDTH = 1 / math.log(GROWTH)


def bucket(seconds: float) -> int:
    """The number of the bucket that a latency belongs to."""
    if seconds <= SMALLEST:
        return 0
    return min(LARGEST_BUCKET, math.ceil(math.log(seconds / SMALLEST) * _WIDTH))


def seconds(number: int) -> float:
    """The latency that a bucket stands for."""
    return SMALLEST if number <= 0 else 2 * SMALLEST * GROWTH**number / (GROWTH + 1)


def counts(text: str) -> Counter[int]:
    """How many values each bucket of a stored sketch, or of several in a row, has."""
    lowest, found = _row_of_counts(text)
    return Counter({lowest + number: count for number, count in enumerate(found) if count})


def _row_of_counts(text: str) -> tuple[int, list[int]]:
    """The first bucket that may have values, and how many values each has from there on."""
    single, *folded = text.split("=")
    singles, parts = [single], []
    for part in folded:
        head, _, tail = part.partition(";")
        if head[0] in _NARROW:
            parts.append((ord(head[1]), _widened(head[2:], _NARROW[head[0]])))
        else:
            parts.append((ord(head[0]), int(head[1:], 16)))
        if tail:
            singles.append(tail)
    characters = Counter(_numbers("".join(singles)))
    lowest = min([*characters, *(first for first, _ in parts)], default=FIRST_CHARACTER)
    lanes = 0
    for first, some in parts:
        lanes += some << (_LANE * (first - lowest))
    width = max(-(-lanes.bit_length() // _LANE), max(characters, default=0) - lowest + 1, 0)
    found = list(memoryview(lanes.to_bytes(_LANE // 8 * width, sys.byteorder)).cast("I"))
    if sys.byteorder == "big":
        found.reverse()
    for character, count in characters.items():
        found[character - lowest] += count
    return lowest - FIRST_CHARACTER, found


def fold(found: Mapping[int, int]) -> str:
    """The counts of buckets as a stored sketch, in its shorter form."""
    kept = {number: count for number, count in found.items() if count > 0}
    if sum(kept.values()) <= LONGEST:
        return "".join(chr(FIRST_CHARACTER + number) * count for number, count in sorted(kept.items()))
    lowest, most = min(kept), max(kept.values())
    kind, width = next(((kind, width) for kind, width in _NARROW.items() if most < 1 << (8 * width)), ("", _LANE // 8))
    raw = bytearray(width * (max(kept) - lowest + 1))
    for number, count in kept.items():
        place = len(raw) - width * (number - lowest + 1)
        raw[place : place + width] = min(count, (1 << _LANE) - 1).to_bytes(width, "big")
    return f"={kind}{chr(FIRST_CHARACTER + lowest)}{raw.hex()};"


def shortened(text: str) -> str:
    """A stored sketch, folded if it is long."""
    return fold(counts(text)) if len(text) > LONGEST else text


def _numbers(text: str) -> list[int]:
    """The characters by number: to count characters makes an object of each, which takes twice as long."""
    code = "utf-16-le" if sys.byteorder == "little" else "utf-16-be"
    return memoryview(text.encode(code)).cast("H").tolist()


def _widened(digits: str, width: int) -> int:
    """Counts of so many bytes each as one number of lanes."""
    raw = bytes.fromhex(digits)
    lanes = bytearray(len(raw) // width * (_LANE // 8))
    for place in range(width):
        lanes[_LANE // 8 - width + place :: _LANE // 8] = raw[place::width]
    return int.from_bytes(lanes, "big")


def quantiles(found: Mapping[int, int], shares: Sequence[float]) -> list[float | None]:
    """:func:`quantile` for several shares."""
    kept = sorted((number, count) for number, count in found.items() if count > 0)
    reached = list(accumulate(count for _, count in kept))
    if not reached:
        return [None for _ in shares]
    return [seconds(kept[bisect_left(reached, math.ceil(share * reached[-1]))][0]) for share in shares]


def quantiles_of(text: str, shares: Sequence[float]) -> list[float | None]:
    """The same of a stored sketch, or of several in a row. What is not folded is not taken apart first."""
    if "=" in text:
        lowest, found = _row_of_counts(text)
        reached = list(accumulate(found))
        return [seconds(lowest + bisect_left(reached, math.ceil(share * reached[-1]))) for share in shares]
    if len(text) <= _FEW:
        ordered, last = sorted(_numbers(text)), len(text)
        return [seconds(ordered[math.ceil(s * last) - 1] - FIRST_CHARACTER) if last else None for s in shares]
    kept = sorted(Counter(_numbers(text)).items())
    reached = list(accumulate(count for _, count in kept))
    places = [bisect_left(reached, math.ceil(share * reached[-1])) for share in shares]
    return [seconds(kept[place][0] - FIRST_CHARACTER) for place in places]


def quantile(found: Mapping[int, int], share: float) -> float | None:
    """The latency (seconds, within 2 %) that at least ``share`` of the values do not exceed; ``None`` without any."""
    (answer,) = quantiles(found, (share,))
    return answer


def merged(many: Iterable[Mapping[int, int]]) -> Counter[int]:
    """Several sketches as one."""
    found: Counter[int] = Counter()
    for one in many:
        found.update(one)
    return found


# The same bucket in SQL. ``ln`` and ``ceil`` are functions of Postgres and of most builds of SQLite.
SQL_BUCKET = (
    f"CASE WHEN latency <= {SMALLEST!r} THEN 0 WHEN latency >= 86400 THEN {LARGEST_BUCKET} "
    f"ELSE CAST(ceil(ln(latency / {SMALLEST!r}) * {_WIDTH!r}) AS INTEGER) END"
)
