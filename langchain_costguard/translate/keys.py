"""A LangChain request → its key: the model, messages and arguments as data, never a secret.

From objects where there are objects, from strings where not. Both ways lead to the same key for the same request, so
that ``invoke`` behind ``set_llm_cache`` and a guarded stream share their entries.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from langchain_core.language_models import BaseLanguageModel
from langchain_core.load import dumpd
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from costguard_core import Attribution
from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Uncacheable
from costguard_core.cache.control import current_control
from costguard_core.cache.parameters import answering, caller_of
from costguard_core.cache.request import Identity, OncePerClass, RowRequest, WhileUnchanged
from costguard_core.cache.secrets import HIDDEN
from langchain_costguard.translate.messages import rows_of, rows_of_json

Config = RunnableConfig | None
"""What LangChain's methods take as ``config``."""


class ChatContent(NamedTuple):
    """A chat request by its objects, as guarded models ask.

    Attributes:
        model: the bare model.
        messages, stop, kwargs: as given to the model.
        attribution: who asks.
    """

    model: BaseLanguageModel[Any]
    messages: Sequence[BaseMessage]
    stop: Sequence[str] | None
    kwargs: Mapping[str, Any]
    attribution: Attribution


class TextContent(NamedTuple):
    """A request by the two strings that LangChain hands to a cache, and the call behind them where it is known.

    Attributes:
        prompt, llm_string: LangChain's strings.
        attribution: who asks.
        model, stop, kwargs: the call; the model is believed, not the string.
        complete: whether ``llm_string`` holds the arguments of the call, as it does for chat models.
        again: the request was looked up before, so that a reason to decline it is not counted twice.
    """

    prompt: str
    llm_string: str
    attribution: Attribution
    model: BaseLanguageModel[Any] | None = None
    stop: Sequence[str] | None = None
    kwargs: Mapping[str, Any] = {}
    complete: bool = True
    again: bool = False


# What LangChain puts into its key although it cannot change the answer.
_IRRELEVANT = frozenset(
    (
        "timeout request_timeout default_request_timeout stream_chunk_timeout max_retries name streaming stream "
        "stream_usage stream_options disable_streaming callbacks callback_manager metadata tags verbose cache "
        "rate_limiter custom_get_token_ids profile http_client http_async_client http_socket_options client "
        "async_client root_client root_async_client include_response_headers ls_structured_output_format run_name "
        "run_id config"
    ).split()
)
# Fields of models that LangChain cannot serialise, and which often forget to identify themselves.
_TELLING = frozenset(
    (
        "model model_name model_id model_kwargs deployment_name azure_deployment base_url endpoint_url temperature "
        "top_p top_k seed n max_tokens max_output_tokens num_predict num_ctx repeat_penalty mirostat format reasoning "
        "stop stop_sequences"
    ).split()
)
# Given to the constructor or to the call, these mean the same to these models.
_SAME_IN_CALL = frozenset("temperature top_p seed n frequency_penalty presence_penalty logprobs top_logprobs".split())
_SAME_IN_CALL_FOR = frozenset(("ChatOpenAI", "AzureChatOpenAI"))


def identity_of(path: tuple[str, ...], parameters: Mapping[str, Any]) -> Identity:
    """Raises NotCanonical when a parameter cannot be written down."""
    return Identity.of(path, relevant(parameters), caller_of(parameters))


def called_with(
    identity: Identity, kwargs: Mapping[str, object], stop: Sequence[str] | None
) -> tuple[Identity, dict[str, Any]]:
    """The identity for one call, and what of the call's arguments is left beside it."""
    is_same = identity.path[-1:] and identity.path[-1] in _SAME_IN_CALL_FOR
    if who := caller_of(kwargs):
        identity = replace(identity, caller=identity.caller + who)
    identity, call = identity.called_with(relevant(kwargs), _SAME_IN_CALL if is_same else frozenset())
    return identity, {**call, "stop": list(stop)} if stop else call


def relevant(parameters: Mapping[str, object]) -> dict[str, Any]:
    """The parameters that can change an answer, secrets replaced.

    Raises:
        NotCanonical: one of them is an object that LangChain could only describe by its class.
    """
    return {
        name: _shown(name, value)
        for name, value in answering(parameters, callers=False).items()
        if name not in _IRRELEVANT
    }


class Models(WhileUnchanged[Identity]):
    """The identities of models. LangChain serialises a model once, and keeps using that after its fields have changed.

    A field that is a model itself may change without looking different. So may the objects in a model that cannot be
    serialised: what it says of itself is asked for each time.
    """

    changing = (BaseModel,)

    def fields(self, model: BaseLanguageModel[Any]) -> Mapping[str, Any]:
        if model.is_lc_serializable():
            return model.__dict__
        telling: dict[str, Any] = {}
        for name in type(model).model_fields:
            value = getattr(model, name, None)
            if name in _TELLING or isinstance(value, (str, bool, float)):  # an unknown number or list may be a count
                telling[name] = value
        return {**telling, **model._identifying_params, "_type": getattr(model, "_llm_type", None)}

    def work_out(self, model: BaseLanguageModel[Any], fields: Mapping[str, Any]) -> Identity:
        """Serialise the model afresh.

        Raises:
            NotCanonical: it has a part that cannot be written down.
        """
        kind = type(model)
        if not model.is_lc_serializable():
            return identity_of((kind.__module__, kind.__qualname__), fields)
        written = dumpd(model)
        if written.get("type") != "constructor":
            raise NotCanonical(f"a model of class {kind.__name__}")
        return identity_of(tuple(written["id"]), written["kwargs"])


def _shown(name: str, value: object) -> Any:
    if isinstance(value, Mapping):
        if value.get("lc") == 1 and value.get("type") == "secret":
            return HIDDEN
        if value.get("lc") == 1 and value.get("type") == "not_implemented":
            raise NotCanonical(f"parameter {name!r}, an object without a written form")
    return HIDDEN if isinstance(value, str) and name.endswith(("api_key", "_secret", "_token")) else value


_REMEMBERED_PROMPTS, _REMEMBERED_CHARACTERS = 512, 64_000


class RequestKeys:
    """Makes keys under one policy; remembers models, schemas and recent prompts, so that a hit repeats no work."""

    def __init__(self, policy: CachePolicy) -> None:
        self.policy = policy
        self.models = Models()
        self._describe = OncePerClass(_schema)
        # By LangChain's two strings, the model's identity and caller, who asks and wishes.
        self._recent = lru_cache(_REMEMBERED_PROMPTS)(_none_yet)

    def chat(self, content: ChatContent) -> CacheKey | Uncacheable:
        """The key of a chat request, from the model's fields as they are now; classes and functions by schema."""
        try:
            request = self.read(content).request()
        except NotCanonical as error:
            return Uncacheable(str(error))
        return self.policy.key(request)

    def raw(self, content: TextContent) -> CacheKey | Uncacheable:
        """The key of what LangChain hands to a cache.

        A class or function among the parameters makes the request :class:`Uncacheable`: LangChain keys only its name.
        """
        try:
            identity = None if content.model is None else self.models.of(content.model)
        except NotCanonical as error:
            return Uncacheable(str(error))
        prompt, llm_string, attribution = content.prompt, content.llm_string, content.attribution
        if not content.complete or len(prompt) + len(llm_string) > _REMEMBERED_CHARACTERS:
            return self._raw_key(content, identity)
        text, caller = (None, "") if identity is None else (identity.text, identity.caller)
        known = self._recent(prompt, llm_string, text, caller, attribution, current_control())
        if not known:
            known.append(self._raw_key(content, identity))
        return known[0]

    def read(self, content: ChatContent) -> RowRequest:
        """A chat request as rows.

        Raises:
            NotCanonical: a part has no exact written form.
        """
        model, messages, stop, kwargs, attribution = content
        identity = self.models.of(model)
        call: dict[str, Any] = {}
        if kwargs or stop:
            identity, call = called_with(identity, kwargs, stop)
        return RowRequest(identity, rows_of(messages), call, attribution, self._describe)

    def read_text(self, content: TextContent, identity: Identity | None = None) -> RowRequest:
        """What LangChain hands to a cache as rows; a call that is known is believed instead.

        Raises:
            NotCanonical: a part has no exact written form.
        """
        kwargs = content.kwargs
        if identity is None and content.model is not None:
            identity = self.models.of(content.model)
        if identity is None:
            identity, kwargs = _parsed(content.llm_string)
        rows = rows_of_json(content.prompt)
        rows = [["text", content.prompt]] if rows is None else rows
        identity, call = called_with(identity, kwargs, content.stop)
        return RowRequest(identity, rows, call, content.attribution)

    def _raw_key(self, content: TextContent, identity: Identity | None) -> CacheKey | Uncacheable:
        try:
            request = self.read_text(content, identity).request()
        except NotCanonical as error:
            return Uncacheable(str(error))
        return self.policy.key(request)


def _none_yet(*_: Hashable) -> list[CacheKey | Uncacheable]:
    """Where the key of a request is kept, once it was made."""
    return []


def _parsed(llm_string: str) -> tuple[Identity, dict[str, Any]]:
    """The model and the call's arguments in LangChain's string: ``{json}---[(name, value), ...]`` or only the list."""
    written, separator, listed = llm_string.rpartition("---[")
    if separator and written.startswith("{"):
        try:
            model = json.loads(written)
            return identity_of(tuple(model["id"]), model.get("kwargs", {})), _pairs("[" + listed)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotCanonical("a model string of an unknown form") from None
    if llm_string.startswith("[("):
        return identity_of((), _pairs(llm_string)), {}
    if any(mark in llm_string for mark in (" at 0x", "<class ", "<function ", "<bound method ")):
        raise NotCanonical("a parameter of which only the name is known")
    return identity_of(("string",), {"llm": llm_string}), {}


def _pairs(listed: str) -> dict[str, Any]:
    try:
        return dict(ast.literal_eval(listed))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise NotCanonical("a parameter of which only the name is known") from None


def _schema(value: object) -> Any:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"pydantic": value.model_json_schema()}
    if isinstance(value, (type, BaseTool)) or callable(value):
        try:
            return convert_to_openai_tool(value)
        except Exception:
            raise NotCanonical(f"the schema of {getattr(value, '__name__', type(value).__name__)!r}") from None
    raise NotCanonical(f"a value of type {type(value).__name__}")
