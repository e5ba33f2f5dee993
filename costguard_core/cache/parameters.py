"""Parameters of providers that cannot change an answer, so that they split no cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard_core.cache.secrets import identified

# Who asks, how it is billed and where it is filed: https://platform.openai.com/docs/api-reference/chat/create,
# https://docs.anthropic.com/en/api/messages, https://openrouter.ai/docs/api-reference/overview
_ASIDE = frozenset(
    (
        "user user_id end_user_id safety_identifier prompt_cache_key prompt_cache_retention service_tier metadata "
        "request_id trace trace_id"
    ).split()
)
_NESTED = frozenset("extra_body model_kwargs additional_kwargs".split())


def answering(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that can change an answer, also of those inside ``extra_body`` and the like.

    Headers are as :func:`~costguard_core.cache.secrets.identified` makes them.
    """
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        if name in _ASIDE:
            continue
        kept = value
        if isinstance(value, Mapping) and (name in _NESTED or "headers" in name):
            kept = answering(value) if name in _NESTED else identified(value)
            if not kept:
                continue
        found[name] = kept
    return found
