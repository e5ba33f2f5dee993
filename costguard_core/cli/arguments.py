"""What several commands take: names and their values."""

from __future__ import annotations

from collections.abc import Iterable

from costguard_core.errors import ConfigurationError


def names_and_values(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """``["user=u1", "team=search"]`` as a dictionary.

    Raises:
        ConfigurationError: one of them has no ``=``; the text names ``option``.
    """
    found = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise ConfigurationError(f"{option} {text!r} is not a name and its value, such as user=u1")
        found[name.strip()] = value
    return found
