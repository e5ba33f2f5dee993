"""Who caused this call: a context variable that application code sets around its work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from costguard_core.types import Attribution

_current: ContextVar[Attribution] = ContextVar("costguard_attribution", default=Attribution())

# The names that LangChain and LangGraph users already put into `config["metadata"]`, and LlamaIndex users into
# `instrument_tags`. The first one present wins.
_METADATA_NAMES: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "user"),
    "tenant": ("tenant", "tenant_id"),
    "session": ("session_id", "session", "thread_id", "conversation_id"),
    "endpoint": ("endpoint",),
    "feature": ("feature",),
    "template": ("template", "prompt_name"),
}
_KNOWN_NAMES = frozenset(name for names in _METADATA_NAMES.values() for name in names)


@contextmanager
def attribute(
    *,
    user: str | None = None,
    tenant: str | None = None,
    session: str | None = None,
    endpoint: str | None = None,
    feature: str | None = None,
    template: str | None = None,
    documents: Iterable[str] = (),
) -> Iterator[Attribution]:
    """Attribute every call inside the ``with`` block. Blocks nest: what is not given is inherited.

    Works across ``await`` and in threads started with a copied context (LangChain's ``batch`` does that); a raw
    ``threading.Thread`` starts without it.

    ``documents`` names what the answers are based on, so that ``cache.invalidate(document=...)`` can find them.
    """
    named = {
        "user": user,
        "tenant": tenant,
        "session": session,
        "endpoint": endpoint,
        "feature": feature,
        "template": template,
    }
    given = _current.get().merged(
        # Many applications number their users; a budget, a key and the ledger know them by text.
        **{name: str(value) for name, value in named.items() if value is not None},
        documents=(documents,) if isinstance(documents, str) else tuple(map(str, documents)) or None,
    )
    token = _current.set(given)
    try:
        yield given
    finally:
        _current.reset(token)


def current_attribution(metadata: Mapping[str, Any] | None = None) -> Attribution:
    """The attribution in force; ``metadata`` of the call itself is nearer than the block, so it wins."""
    around = _current.get()
    if not metadata or _KNOWN_NAMES.isdisjoint(metadata):
        return around
    found = {field: _first(metadata, names) for field, names in _METADATA_NAMES.items()}
    return around.merged(**found)


def _first(metadata: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = metadata.get(name)
        if value is not None and value != "":
            return str(value)
    return None
