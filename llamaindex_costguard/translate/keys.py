"""A LlamaIndex request → its key: the model, prompt and arguments as data, never a secret.

Whatever cannot be written exactly makes the request uncacheable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import cache as remembered
from typing import Any, TypeVar

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.llms import LLM
from llama_index.core.tools import BaseTool
from llama_index_instrumentation.dispatcher import active_instrument_tags
from pydantic import BaseModel

from costguard_core import Attribution
from costguard_core.attribution import current_attribution
from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Uncacheable, canonical, request_digest
from costguard_core.cache.keys import digest
from costguard_core.cache.parameters import answering, caller_of, written_settings
from costguard_core.cache.request import NO_ARGUMENTS, Arguments, WhileUnchanged, cache_request
from costguard_core.cache.secrets import is_secret
from costguard_core.cache.semantic.template import Retrieved
from costguard_core.lifecycle.model_settings import ModelSettings
from llamaindex_costguard.translate.messages import Prompt


class RequestContent:
    """One request, translated once.

    Attributes:
        settings: what the LLM's settings say about each of its calls.
        prompt: a chat, a text, or a template to be answered with an object.
        kwargs: the arguments of the call.
        retrieved: what the prompt was filled with, if it came from a template.
        attribution: who asks.
    """

    __slots__ = ("_rows", "attribution", "kwargs", "prompt", "retrieved", "settings")

    def __init__(
        self,
        settings: ModelSettings,
        prompt: Prompt,
        kwargs: Mapping[str, object],
        retrieved: Retrieved | None,
        attribution: Attribution,
    ) -> None:
        self.settings, self.prompt, self.kwargs = settings, prompt, kwargs
        self.retrieved, self.attribution = retrieved, attribution
        self._rows: list[Any] | None = None

    @property
    def rows(self) -> list[Any]:
        """The prompt as canonical rows.

        Raises:
            NotCanonical: a part without an exact written form.
        """
        if self._rows is None:
            self._rows = self.prompt.rows()
        return self._rows


T = TypeVar("T")

# Settings of the transport and of LlamaIndex around the model: none of them reaches the provider's answer.
_IRRELEVANT = frozenset(
    (
        "callback_manager rate_limiter timeout request_timeout max_retries reuse_client embed_batch_size num_workers "
        "embeddings_cache output_parser pydantic_program_mode query_wrapper_prompt show_progress verbose http_client "
        "async_http_client"
    ).split()
)
# What a class keeps to itself and that can be written, or makes a request uncacheable because it cannot.
_TELLING = (str, int, float, list, tuple, dict, set, frozenset, BaseModel)
_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name", "engine")
_UNKNOWN = "unknown"  # LlamaIndex's default for a name that was not given
_INTEGRATION = re.compile(r"llama_index\.(?:llms|embeddings|multi_modal_llms)\.(\w+)")
_NO_PROVIDER = frozenset(("openai_like", "litellm", "langchain", "custom"))


def fields_of(model: Any) -> Mapping[str, Any]:
    """All fields of a model, also those that its class keeps to itself."""
    private = model.__pydantic_private__
    return {**model.__dict__, **private} if private else model.__dict__


class SettingsMemory(WhileUnchanged[T]):
    """What was worked out of models by ``work_out``, which gets the model and its integration's class."""

    ignored = _IRRELEVANT
    copied = (BaseModel,)
    changing = (LLM, BaseEmbedding)
    fields = staticmethod(fields_of)

    def __init__(self, work_out: Callable[[Any, type], T]) -> None:
        super().__init__()
        self._work_out = work_out

    def work_out(self, model: object, fields: Mapping[str, object]) -> T:
        return self._work_out(model, integration_class(model))


def identity_of(model: LLM | BaseEmbedding, path: type, *, callers: bool = True) -> str:
    """A digest of a model's class and settings. ``callers``: headers that authenticate are among them.

    Raises:
        NotCanonical: a setting without an exact written form.
    """
    return digest("llamaindex", canonical(_model(model, path, callers=callers)))


def model_name(model: LLM | BaseEmbedding) -> str:
    """The name that the provider knows it by, else that of its class."""
    fields = model.__dict__
    for name in _MODEL_NAMES:
        found = fields.get(name)
        if isinstance(found, str) and found and found != _UNKNOWN:
            return found
    told = metadata_of(model) if isinstance(model, LLM) else model
    return told.model_name if told and told.model_name and told.model_name != _UNKNOWN else model.class_name()


@remembered
def provider_of(kind: type) -> str | None:
    """``llama_index.llms.openai`` → ``openai``: integrations are named after their provider."""
    for base in kind.__mro__:
        found = _INTEGRATION.match(base.__module__)
        if found:
            return None if found[1] in _NO_PROVIDER else found[1]
    return None


def metadata_of(llm: LLM) -> LLMMetadata | None:
    """What an LLM says of itself; ``None``: OpenAI's raises for a model that is newer than the integration."""
    try:
        return llm.metadata
    except Exception:
        return None


def settings_of(model: LLM | BaseEmbedding) -> dict[str, Any]:
    """The settings that can change an answer."""
    # What a class keeps to itself may be its model's name, its options or the model that it asks in turn; clients and
    # other machinery say nothing that can be written.
    private = (model.__pydantic_private__ or {}).items()
    kept = {name: value for name, value in private if isinstance(value, _TELLING) and not is_secret(name)}
    return {**kept, **{name: value for name, value in model.__dict__.items() if _counts(name)}}


def _counts(name: str) -> bool:
    return name not in _IRRELEVANT and not name.startswith("_") and not is_secret(name)


def _model(model: LLM | BaseEmbedding, path: type, *, callers: bool = True) -> list[Any]:
    settings = written_settings(settings_of(model), _asked_model, callers=callers)
    return [path.__module__, path.__qualname__, settings]


def _asked_model(value: object) -> list[Any] | None:
    """A setting that is a model, which is asked in turn."""
    return _model(value, type(value)) if isinstance(value, (LLM, BaseEmbedding)) else None


def integration_class(llm: object) -> type:
    """The class that an integration gives its model, also of a guarded one, whose own class is derived from it."""
    settings = llm.__dict__.get("_costguard")
    found: type = getattr(settings, "inner", type(llm))
    return found


# Transport and delivery: the answer is the same.
_TRANSPORT = frozenset(("timeout", "max_retries", "stream", "stream_options", "http_client"))


def who_asks(tags: Collection[str] = ()) -> Attribution:
    """``attribute(...)`` and LlamaIndex's ``instrument_tags``, of which the latter are nearer.

    ``tags`` are the names in the latter that a guard takes as tags.
    """
    return current_attribution(active_instrument_tags.get(), tags)


def request_key(policy: CachePolicy, request: RequestContent, rows: list[Any] | None = None) -> CacheKey | Uncacheable:
    """The key of one request under a policy, or why it has none; with other ``rows`` than those of its messages.

    Raises:
        NotCanonical: a part of the request has no exact written form.
    """
    if rows is None:
        rows = request.rows
    settings = request.settings
    if isinstance(settings.identity, Uncacheable):
        return settings.identity
    arguments, caller = NO_ARGUMENTS, settings.caller
    if request.kwargs:
        caller += caller_of(request.kwargs)
        call = {
            name: value for name, value in answering(request.kwargs, callers=False).items() if _changes_answer(name)
        }
        arguments = Arguments.of(call)
    digest = request_digest(
        model=settings.identity,
        parameters=arguments.rest,
        messages=rows,
        tools=arguments.tools,
        schema=arguments.schema,
        describe=_describe,
    )
    known = None if request.retrieved is None else request.retrieved.question
    return policy.key(
        cache_request(
            digest,
            arguments,
            request.prompt.question if known is None else known,
            request.attribution,
            model=settings.model,
            settings={"temperature": settings.temperature, "n": settings.choices},
            live=settings.live,
            caller=caller,
        )
    )


def _changes_answer(name: str) -> bool:
    return name not in _TRANSPORT and not is_secret(name)


def _describe(value: object) -> Any:
    """A tool by what the provider is told of it, a class by its schema, a value object by its fields."""
    if isinstance(value, BaseTool):
        metadata = value.metadata
        return {"name": metadata.name, "description": metadata.description, "schema": metadata.get_parameters_dict()}
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"class": value.__qualname__, "schema": value.model_json_schema()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise NotCanonical(f"a value of type {type(value).__name__}")
