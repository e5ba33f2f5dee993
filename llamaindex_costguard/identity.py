"""Which model a request is for, as data: its class and the settings that can change an answer, never a secret."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from functools import cache as remembered
from typing import Any, Generic, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import LLM
from pydantic import BaseModel

from costguard_core.caching import NotCanonical, canonical
from costguard_core.caching.keys import digest
from costguard_core.caching.secrets import HIDDEN, is_secret

T = TypeVar("T")

# Settings of the transport and of LlamaIndex around the model: none of them reaches the provider's answer.
_IRRELEVANT = frozenset(
    (
        "callback_manager rate_limiter timeout request_timeout max_retries reuse_client embed_batch_size num_workers "
        "embeddings_cache output_parser pydantic_program_mode query_wrapper_prompt show_progress verbose http_client "
        "async_http_client"
    ).split()
)
_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name", "engine")
_UNKNOWN = "unknown"  # LlamaIndex's default for a name that was not given
_INTEGRATION = re.compile(r"llama_index\.(?:llms|embeddings|multi_modal_llms)\.(\w+)")
_NO_PROVIDER = frozenset(("openai_like", "litellm", "langchain", "custom"))


class WhileUnchanged(Generic[T]):
    """Remembers what was worked out of a model for as long as all its settings stay what they were."""

    __slots__ = ("_found", "_seen", "_work_out")

    def __init__(self, work_out: Callable[[Any, type], T]) -> None:
        self._work_out = work_out
        self._seen: tuple[type, dict[str, Any], dict[str, Any] | None] | None = None
        self._found: T | None = None

    def of(self, model: Any, path: type) -> T:
        """``path`` is the class that the integration gave the model."""
        private = model.__pydantic_private__
        seen, found = self._seen, self._found
        if seen is not None and found is not None and seen[0] is path and _same(seen, model.__dict__, private):
            return found
        found = self._work_out(model, path)
        fields = {name: _frozen(value) for name, value in model.__dict__.items()}
        self._seen, self._found = (path, fields, None if private is None else dict(private)), found
        return found


def identity_of(model: LLM | BaseEmbedding, path: type) -> str:
    """A digest of a model's class and settings.

    Raises:
        NotCanonical: a setting without an exact written form.
    """
    shown = {name: _shown(name, value) for name, value in settings_of(model).items() if value is not None}
    return digest("llamaindex", canonical([path.__module__, path.__qualname__, shown]))


def model_name(model: LLM | BaseEmbedding) -> str:
    """The name that the provider knows it by, else that of its class."""
    fields = model.__dict__
    for name in _MODEL_NAMES:
        found = fields.get(name)
        if isinstance(found, str) and found and found != _UNKNOWN:
            return found
    said = _metadata_name(model)
    return said if said and said != _UNKNOWN else model.class_name()


@remembered
def provider_of(kind: type) -> str | None:
    """``llama_index.llms.openai`` → ``openai``: integrations are named after their provider."""
    for base in kind.__mro__:
        found = _INTEGRATION.match(base.__module__)
        if found:
            return None if found[1] in _NO_PROVIDER else found[1]
    return None


def without_secrets(shown: Iterable[tuple[str | None, Any]]) -> Iterator[tuple[str | None, Any]]:
    """What a representation shows of a model's settings, secrets hidden; LlamaIndex shows them."""
    for name, value in shown:
        if isinstance(value, dict):
            yield name, {key: HIDDEN if is_secret(str(key)) else item for key, item in value.items()}
        else:
            yield name, HIDDEN if name is not None and value is not None and is_secret(name) else value


def _metadata_name(model: LLM | BaseEmbedding) -> str | None:
    try:
        return model.metadata.model_name if isinstance(model, LLM) else model.model_name
    except Exception:  # OpenAI's raises for a model that is newer than the integration
        return None


def settings_of(model: LLM | BaseEmbedding) -> dict[str, Any]:
    """The settings that can change an answer."""
    # What a class keeps to itself may be its model's name; clients and other machinery say nothing that can be written.
    private = (model.__pydantic_private__ or {}).items()
    kept = {name: value for name, value in private if isinstance(value, (str, int, float)) and not is_secret(name)}
    return {**kept, **{name: value for name, value in model.__dict__.items() if _counts(name)}}


def _counts(name: str) -> bool:
    return name not in _IRRELEVANT and not name.startswith("_") and not is_secret(name)


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _shown(str(key), item) for key, item in value.items() if not is_secret(str(key))}
    if isinstance(value, (list, tuple)):
        return [_shown(name, item) for item in value]
    if isinstance(value, BaseModel):
        return _shown(name, value.model_dump(mode="json"))
    if callable(value):
        return _imported(value)
    return value


def _imported(function: Callable[..., Any]) -> str:
    """A function or class by the name under which anybody can import it; any other could be anything."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not name or getattr(sys.modules.get(module), name, None) is not function:
        raise NotCanonical("a setting that is a function without a name")
    return f"{module}.{name}"


def _same(seen: tuple[type, dict[str, Any], dict[str, Any] | None], fields: Any, private: Any) -> bool:
    try:
        return bool(seen[1] == fields and seen[2] == private)
    except Exception:  # a setting that cannot be compared
        return False


def _frozen(value: Any) -> Any:
    return deepcopy(value) if isinstance(value, (list, dict, set)) else value
