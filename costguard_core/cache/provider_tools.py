"""Tools and options of providers that read the world at the time of the call, by the names that providers give them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from costguard_core.cache.secrets import is_secret

_LIVE = (
    "web_",
    "file_search",
    "mcp",
    "google_",
    "url_context",
    "code_",
    "x_search",
    "computer_use",
    "search_parameters",
)


HOSTED = ("tools", "built_in_tools", "built_in_tool", "mcp_servers")
"""Settings of models that hold what the provider itself runs."""
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Words of options and tools by which a provider looks something up, whatever stands around them.
_LIVE_WORD = re.compile(
    r"(?:^|_)(?:web|internet|online|browse|browser|browsing|search|grounding|retrieval|realtime|citations|knowledge_base"
    r"|vector_stores?|vector_store_ids)(?:_|$)"
)
_NO_LOOKUP = re.compile(r"(?:beam|contrastive|greedy|grid|tree)_search")  # how a local model picks its words


def is_live_name(name: str) -> bool:
    """Whether an option or tool of this name has the provider look something up, in snake case or camel case."""
    plain = _SNAKE.sub("_", name).lower().replace("-", "_")
    return plain.startswith(_LIVE) or (_LIVE_WORD.search(plain) is not None and _NO_LOOKUP.search(plain) is None)


def is_live_tool(tool: object) -> bool:
    """Whether a tool, as it is sent, is one that the provider itself runs on live data."""
    if not isinstance(tool, Mapping):
        return False
    kind = tool.get("type")
    return is_live_name(kind) if isinstance(kind, str) else any(is_live_name(str(name)) for name in tool)


# Models that always search, as OpenAI, Perplexity, OpenRouter (a suffix), Groq and others name them.
_LIVE_MODEL = re.compile(
    r"(?:^|[-/:_.])(?:deep-?research|deep-?search|search|online|browse|browsing|web|alltools)(?:$|[-:_.@])"
    r"|(?:^|[-/.])(?:sonar|compound|exa)(?:$|[-:])"
)
# Options whose value alone says that something is looked up, whatever else is in it.
_LOOKED_UP = frozenset(("plugins", "data_sources", "mcp_servers", "connectors", "tool_resources", "compound_custom"))
# Options by which a provider goes on with what it keeps itself, which is in no key.
_REMEMBERED = frozenset(
    (
        "conversation conversation_id previous_response_id previous_interaction_id thread thread_id session_id chat_id "
        "assistant_id agent_id bot_id container container_id memory memory_id"
    ).split()
)
# Options that name models which may answer instead: https://openrouter.ai/docs/features/model-routing
_OTHER_MODELS = frozenset("model models fallbacks fallback_models".split())
# Options that hold other options.
_NESTED = frozenset(
    (
        "model_kwargs extra_body extra_query additional_kwargs additional_model_request_fields generation_config "
        "provider provider_options options params extra default_query"
    ).split()
)
_OFF = (None, False, 0, "", "off", "none", "disabled", "false")


def is_live_model(name: str | None) -> bool:
    """Whether a model of this name reads the web for every answer."""
    return name is not None and _LIVE_MODEL.search(name.lower()) is not None


def hosted_tools(settings: Mapping[str, object]) -> Iterator[Any]:
    """The tools that a model was made with, as plain values: of a provider's own class, what of it is given."""
    for name in HOSTED:
        found = settings.get(name)
        for tool in found if isinstance(found, (list, tuple)) else () if found is None else (found,):
            given = getattr(type(tool), "model_fields", None)
            yield tool if given is None else {name: True for name, value in tool if value is not None}


def is_made_live(settings: Mapping[str, object]) -> bool:
    """Whether a model was made with tools or options that read the world at the time of a call."""
    if settings.get("mcp_servers") or any(map(is_live_tool, hosted_tools(settings))):
        return True
    options = [value for value in settings.values() if isinstance(value, Mapping)]
    return has_live_option(settings) or any(is_made_live(given) or has_live_option(given) for given in options)


def has_live_option(options: Mapping[str, object]) -> bool:
    """Whether one of the options, also of those inside ``extra_body`` and the like, has the provider look something up
    or go on with a conversation that it keeps.

    An option that is switched off (``False``, ``None``, ``{"mode": "off"}``) does not.
    """
    return any(_is_live_option(name, value) for name, value in options.items())


def _is_live_option(name: str, value: object) -> bool:
    if _is_off(value) or is_secret(name):  # google_api_key is no tool of Google's
        return False
    plain = _SNAKE.sub("_", name).lower()
    if plain in _NESTED:
        return isinstance(value, Mapping) and any(_is_live_in(plain, str(one), given) for one, given in value.items())
    if plain in HOSTED and plain not in _LOOKED_UP:
        return isinstance(value, (list, tuple)) and any(map(is_live_tool, value))
    if plain in _OTHER_MODELS:
        named = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ()
        return any(is_live_model(one) for one in named if isinstance(one, str))
    if plain == "prompt":  # one that the provider keeps, and that may change where no version of it is named
        return isinstance(value, Mapping) and "id" in value and not value.get("version")
    return is_live_name(plain) or (plain in _LOOKED_UP | _REMEMBERED and bool(value))


def _is_live_in(holder: str, name: str, value: Any) -> bool:
    """As above, of an option inside another; a provider's own options are under its name."""
    of_one = holder.startswith("provider") and isinstance(value, Mapping)
    return _is_live_option(name, value) or (of_one and has_live_option(value))


def _is_off(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(name in value and _is_off(value[name]) for name in ("mode", "enabled"))
    plain = value.lower() if isinstance(value, str) else value
    return isinstance(plain, (str, bool, int, type(None))) and plain in _OFF
