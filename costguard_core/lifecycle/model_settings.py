"""What a model's own settings say about each of its calls, and what the arguments of one call change about that.

For frameworks that hand over a model as an object with settings; where they hand over the parameters of a request,
:func:`costguard_core.usage.parameters.terms_of` reads those.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from costguard_core.cache.keys import Uncacheable
from costguard_core.usage.parameters import (
    as_sent,
    caches_prompt,
    output_limit,
    positive,
    requested_tier,
    speaks,
    thinking_tokens,
)
from costguard_core.usage.server_tools import ServerTools, server_tools

# Integrations that pass on a limit in these arguments of a call only, which is then written over the model's.
_LIMITS_IN_CALLS: Mapping[str, tuple[str, ...]] = {"ollama": (), "google_genai": ("generation_config",)}


class ModelSettings(NamedTuple):
    """A model as it is set up now; arguments of a call are looked at only if there are any.

    Attributes:
        model, provider: what is asked, and who runs it.
        identity: a digest of everything that changes an answer, or why there is none.
        temperature: ``None``: the provider's default.
        choices: how many answers are asked for.
        tier: the service tier.
        limit: the cap on output tokens; ``None``: it has none.
        limit_field: the setting through which a smaller cap reaches the provider, if there is one
            (``"additional_kwargs.num_predict"``: an entry of a setting).
        thinks: it was told to think in tokens that are not shown.
        thinking_tokens: the most of them, where it says so.
        hosted: tools of the provider's that it was made with, by setting.
        server_tools: what those may do in a call without arguments of its own.
        live: its settings have the provider look something up.
        silent_streams: it streams without usage unless asked for it.
        reports_usage: its integration passes on all that the provider reports.
        states_own_cost: the cost in its answers is the integration's own reckoning.
        host: where it is sent, if the settings say so.
        caller: who signs in by its headers, as of :func:`~costguard_core.cache.parameters.caller_of`.
        speaks: it answers with sound.
        caches: it asks its provider to cache prompts, which some bill above the input price.
    """

    model: str
    provider: str | None
    identity: str | Uncacheable
    temperature: float | None
    choices: int
    tier: str | None
    limit: int | None
    limit_field: str | None
    thinks: bool
    thinking_tokens: int
    hosted: Mapping[str, Any]
    server_tools: ServerTools
    live: bool
    silent_streams: bool
    reports_usage: bool
    states_own_cost: bool
    host: str | None
    caller: str = ""
    speaks: bool = False
    caches: bool = False

    def limit_with(self, arguments: Mapping[str, object]) -> int | None:
        """The request's own cap on output tokens: the larger one where model and call both have one."""
        if not arguments:
            return self.limit
        found = self._limit_in(arguments)
        if self.provider in _LIMITS_IN_CALLS:
            return found or self.limit
        return max(filter(None, (self.limit, found)), default=None)

    def limit_field_with(self, arguments: Mapping[str, object]) -> str | None:
        """The setting through which a smaller cap reaches the provider; ``None`` if this call has none."""
        return None if arguments and self._limit_in(arguments) else self.limit_field

    def _limit_in(self, arguments: Mapping[str, object]) -> int | None:
        """The cap in the arguments of a call, where the integration passes it on."""
        only = _LIMITS_IN_CALLS.get(self.provider or "")
        if only is not None:
            arguments = {name: value for name, value in arguments.items() if name in only}
        return output_limit(as_sent(arguments))

    def called_with(self, arguments: Mapping[str, object], *, counts: bool) -> ModelSettings:
        """What holds in a call with these arguments; ``counts``: its prompt is counted, so that its tools matter."""
        thinking, hosted = self.thinking_tokens, self.server_tools
        if counts:
            thinking = thinking_tokens(arguments) or thinking
            hosted = server_tools(self.model, self.provider, {**self.hosted, **arguments})
        return self._replace(
            choices=positive(arguments.get("n")) or self.choices,
            tier=requested_tier(arguments) or self.tier,
            limit=self.limit_with(arguments),
            limit_field=self.limit_field_with(arguments),
            thinking_tokens=thinking,
            server_tools=hosted,
            speaks=speaks(arguments) or self.speaks,
            caches=self.caches or caches_prompt(arguments),
        )

    def usage_wish(self, arguments: Mapping[str, object]) -> dict[str, object]:
        """What to add to a stream of OpenAI's integration, or one built on it, so that it reports its usage."""
        wanted = self.silent_streams and "stream_options" not in arguments
        return {"stream_options": {"include_usage": True}} if wanted else {}
