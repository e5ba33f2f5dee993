"""The same model under several names: dated snapshots, prefixes of gateways, and the names that people read."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

# Dates of snapshots: "-2024-08-06", "-20250929-v1:0", and "-0125" of older models.
_DATE = re.compile(r"[-@](?:latest|20\d\d-?[01]\d-?[0-3]\d(?:-v\d+(?::\d+)?)?|[01]\d[0-3]\d)$")
_DATE_WITHIN = re.compile(r"(20\d\d)-([01]\d)-([0-3]\d)$")
_MOST_NAMES = 4096


@lru_cache(maxsize=_MOST_NAMES)
def plain(name: str) -> str:
    """A name in lower case, without what stands before it at a gateway, as the API writes it.

    >>> plain("openai/gpt-4o-2024-08-06"), plain("Claude Sonnet 4.5"), plain("Claude 3.5 Sonnet 2024-10-22")
    ('gpt-4o-2024-08-06', 'claude-sonnet-4-5', 'claude-3-5-sonnet-20241022')
    """
    text = name.strip().lower().rpartition("/")[2]
    if text.startswith("claude"):
        text = re.sub(r"[ .]+", "-", text)  # the console writes "Claude Sonnet 4.5"
        text = _DATE_WITHIN.sub(r"\1\2\3", text)
    return text


@lru_cache(maxsize=_MOST_NAMES)
def undated(name: str) -> str:
    """A plain name without the date of its snapshot.

    >>> undated("gpt-4o-2024-08-06"), undated("claude-sonnet-4-5-20250929"), undated("gpt-4o")
    ('gpt-4o', 'claude-sonnet-4-5', 'gpt-4o')
    """
    return _DATE.sub("", plain(name))


def same_model(names: Iterable[str], billed: Collection[str]) -> str | None:
    """The one of ``billed`` that is called by one of ``names``; ``None`` if none is, or several could be meant."""
    for spelling in (str, plain, undated):
        for name in names:
            wanted = spelling(name)
            found = [other for other in billed if spelling(other) == wanted]
            if len(found) == 1:
                return found[0]
    return None


def one_to_one(names: Collection[str], others: Collection[str]) -> list[tuple[str, str]]:
    """The pairs of two spellings of one model. Two snapshots are none, nor is what could be one of several."""
    pairs = []
    for spelling in (plain, undated):
        for name in names:
            same = [other for other in others if spelling(other) == spelling(name)]
            rivals = [other for other in names if spelling(other) == spelling(name)]
            if len(same) == len(rivals) == 1 and (plain(name) == plain(same[0]) or _is_undated(name, same[0])):
                pairs.append((name, same[0]))
        done = {name for pair in pairs for name in pair}
        names, others = [name for name in names if name not in done], [name for name in others if name not in done]
    return pairs


def _is_undated(*names: str) -> bool:
    return any(plain(name) == undated(name) for name in names)
