"""What must not be written down, recognised by its name: in a key, a store, a representation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "(secret)"
"""Stands where a secret was."""

_SECRET = re.compile(r"auth(?!ors?($|[-_]))|cookie|secret|password|credential|token$|(^|[-_])key(_id)?$", re.IGNORECASE)
# In a text that writes a mapping down: such a name, then a text.
_SPELLED_SECRET = re.compile(
    r"""["'](?:[^"'\s]*(?:auth|cookie|secret|password|credential)[^"'\s]*|[^"'\s]*token|(?:[^"'\s]*[-_])?key)["']\s*:\s*["']""",
    re.IGNORECASE,
)
_SIGNS_IN = ("authorization", "authorization_token")


def is_secret(name: str) -> bool:
    """Whether a setting or header of this name holds a secret."""
    return _SECRET.search(name) is not None


def signs_in(tool: Any) -> bool:
    """Whether a remote tool, as it is sent, signs in: it then answers for whoever signed in."""
    if not isinstance(tool, Mapping):
        return False
    headers = tool.get("headers")
    named = isinstance(headers, Mapping) and any(is_secret(str(name)) for name in headers)
    return named or any(tool.get(name) for name in _SIGNS_IN)


def spells_secret(written: str) -> bool:
    """Whether a mapping that is written down shows the value of something that authenticates."""
    return _SPELLED_SECRET.search(written) is not None
