"""Which model a request is for, as data: its class and the parameters that can change an answer, never a secret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.load import dumpd
from pydantic import BaseModel

from costguard_core.cache import NotCanonical
from costguard_core.cache.identity import Identity
from costguard_core.cache.parameters import answering, caller_of
from costguard_core.cache.secrets import HIDDEN
from costguard_core.cache.unchanged import WhileUnchanged

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
