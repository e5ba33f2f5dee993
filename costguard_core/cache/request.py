"""A request as the data that its key is made of: the model, the arguments of the call, and a row for each message.

Rows hold plain JSON data in one spelling, so that a request has the same key whichever way it was read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, ref

from costguard_core.cache.keys import Describe, NotCanonical, canonical, digest, dump, nothing_else
from costguard_core.cache.policy import Request, classify
from costguard_core.cache.provider_tools import has_live_option, is_live_model, is_live_tool
from costguard_core.cache.secrets import signs_in
from costguard_core.types import Attribution

T = TypeVar("T")

_CHANGING: object = object()
"""Stands in a copy for a value whose changes cannot be noticed: it equals nothing."""


def bare_model(model: Any) -> Any:
    """The model that a guarded one asks, by whose fields the guarded one's requests are known; any other one itself."""
    return model.model if hasattr(model, "answer_cache") else model


def tiers_of(model: Any) -> list[Any]:
    """The models that answer for a router, cheapest first, a router's tiers in its place; any other model itself.

    A router is known by what only routers have, because a cache knows nothing of routing.
    """
    if not hasattr(model, "is_hard"):
        return [model]
    return [tier for one in model.models.values() for tier in tiers_of(one)]


def tier_for(model: Any, messages: Any) -> Any:
    """The model that a router would have answer now, without a judge; any other model itself."""
    while hasattr(model, "is_hard"):
        model = model.models[model.explain(messages).tier]
    return model


class WhileUnchanged(ABC, Generic[T]):
    """Remembers one value for each model.

    Attributes:
        ignored: names of fields that say nothing.
        copied: types of values, beside the containers of Python, that are compared with a copy.
        changing: types of values whose changes cannot be noticed.
    """

    ignored: ClassVar[frozenset[str]] = frozenset()
    copied: ClassVar[tuple[type, ...]] = ()
    changing: ClassVar[tuple[type, ...]] = ()

    def __init__(self) -> None:
        self._seen: dict[int, tuple[ref[object], Mapping[str, object], T]] = {}

    def of(self, model: object) -> T:
        """The value for a model as it is now. Raises what working it out raises."""
        fields, key = self.fields(model), id(model)
        seen = self._seen.get(key)
        try:
            if seen is not None and seen[0]() is model and seen[1] == fields:
                return seen[2]
        except Exception:  # noqa: S110 -- a field that cannot be compared: worked out again
            pass
        copy = {name: self._copy(name, value) for name, value in fields.items()}
        found = self.work_out(model, fields)
        self._seen[key] = (ref(model, self._forgetter(key)), copy, found)
        return found

    @abstractmethod
    def fields(self, model: Any) -> Mapping[str, Any]:
        """All that the value depends on."""

    @abstractmethod
    def work_out(self, model: Any, fields: Mapping[str, object]) -> T:
        """The value."""

    def _copy(self, name: str, value: object) -> object:
        if name in self.ignored or not isinstance(value, (list, tuple, Mapping, set, *self.copied, *self.changing)):
            return value
        if isinstance(value, self.changing):
            return _CHANGING
        try:
            return deepcopy(value)
        except Exception:
            return _CHANGING

    def _forgetter(self, key: int) -> Callable[[object], None]:
        return lambda _: self._seen.pop(key, None) and None


class OncePerClass:
    """A function of any value, called once for each class among them: an object may change after it was seen."""

    def __init__(self, function: Callable[[object], object]) -> None:
        self._function = function
        self._known: WeakKeyDictionary[type, Any] = WeakKeyDictionary()

    def __call__(self, value: object) -> Any:
        if not isinstance(value, type):
            return self._function(value)
        known = self._known.get(value)
        if known is None:
            known = self._known[value] = self._function(value)
        return known


_MODEL_NAMES = ("model", "model_name", "model_id", "deployment_name", "azure_deployment")


@dataclass(frozen=True, slots=True)
class Identity:
    """A model as it is now.

    Attributes:
        path: its class.
        parameters: what can change an answer.
        text: the canonical form of both.
        name: what the provider calls it.
        live: it was made with options, or has a name, by which it reads the world at the time of a call.
        caller: who signs in by its headers, as of :func:`~costguard_core.cache.parameters.caller_of`.
    """

    path: tuple[str, ...]
    parameters: Mapping[str, Any]
    text: str
    name: str | None
    live: bool = False
    caller: str = ""

    @classmethod
    def of(cls, path: tuple[str, ...], parameters: Mapping[str, object], caller: str = "") -> Identity:
        """From its class and the parameters that can change an answer.

        Raises:
            NotCanonical: a parameter cannot be written down.
        """
        names = [name for name in map(parameters.get, _MODEL_NAMES) if isinstance(name, str) and name]
        name = names[0] if names else None
        live = is_live_model(name) or has_live_option(parameters)
        return cls(path, parameters, canonical([path, parameters]), name, live, caller)

    def called_with(self, call: dict[str, object], same: frozenset[str]) -> tuple[Identity, dict[str, object]]:
        """The identity for one call, and what of its arguments is left beside it.

        ``same`` are the names that mean the same, given to the model or to the call.
        """
        moved = {name: call.pop(name) for name in same & call.keys() if call[name] is not None}
        return (Identity.of(self.path, {**self.parameters, **moved}, self.caller) if moved else self), call


_TOOLS = ("tools", "functions")
_SCHEMA = "response_format"


class Arguments(NamedTuple):
    """What is in the arguments of a call.

    Attributes:
        rest: all that is neither of the following.
        tools: what the model may call; their order means nothing.
        schema: the form that the answer must have.
    """

    rest: Mapping[str, object] = {}
    tools: Sequence[Any] = ()
    schema: object = None

    @classmethod
    def of(cls, call: dict[str, Any]) -> Arguments:
        """From all of them, which are taken out of ``call`` but for the rest.

        Raises:
            NotCanonical: a tool signs in as somebody: it answers for whoever signed in.
        """
        tools: list[Any] = []
        for name in _TOOLS:
            tools += call.pop(name, None) or ()
        if any(map(signs_in, tools)):
            raise NotCanonical("a tool that signs in as somebody")
        return cls(call, tools, call.pop(_SCHEMA, None))


NO_ARGUMENTS = Arguments()


def cache_request(
    digest: str,
    arguments: Arguments,
    question: str,
    attribution: Attribution,
    *,
    model: str | None,
    settings: Mapping[str, object],
    live: bool,
    caller: str = "",
) -> Request:
    """A request as the cache policy asks about it.

    Args:
        digest: of everything that changes the answer.
        arguments: of the call.
        question: the text of the last message, if a human wrote it.
        attribution: who asks.
        model: what the request is for, unless the call names another one.
        settings: of the model: ``temperature`` and ``n``, unless the call gives them.
        live: the model was made with something that reads the world at the time of the call.
        caller: who signs in by headers, as a digest.
    """
    call, tools, _ = arguments
    temperature, count = call.get("temperature"), call.get("n")
    named = call.get("model") if call else None
    temperature = settings.get("temperature") if temperature is None else temperature
    count = settings.get("n") if count is None else count
    dynamic, personal, unread = classify(question)
    return Request(
        digest=digest,
        model=named if isinstance(named, str) and named else model,
        question=question,
        dynamic=dynamic,
        personal=personal,
        unread=unread,
        temperature=float(temperature) if isinstance(temperature, (int, float)) else None,
        choices=count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 1,
        live_tools=live
        or any(map(is_live_tool, tools))
        or (bool(call) and (has_live_option(call) or is_live_model(named if isinstance(named, str) else None))),
        attribution=attribution,
        caller=caller,
    )


Row = Sequence[Any]

_PERSONS = ("human", "text")  # kinds of messages; a text is the prompt of a completion model
_NOTHING = ("{}", "[]", "null")  # what a request without arguments, tools and schema has of them in its digest


class RowRequest(NamedTuple):
    """A request before it has a key.

    Attributes:
        identity: of the model, as it is for this call.
        rows: of its messages.
        call: the arguments of the call that can change an answer.
        attribution: who asks.
        describe: writes an object among the arguments as JSON data.
    """

    identity: Identity
    rows: Sequence[Row]
    call: Mapping[str, Any]
    attribution: Attribution
    describe: Describe = nothing_else

    def request(self, rows: Sequence[Row] | None = None) -> Request:
        """What the cache policy makes a key of; with other ``rows`` than those of its messages.

        Raises:
            NotCanonical: a part has no exact written form.
        """
        identity, describe = self.identity, self.describe
        if rows is None:
            rows = self.rows
        arguments, written = NO_ARGUMENTS, _NOTHING
        if self.call:
            call = dict(self.call)
            arguments = Arguments.of(call)
            if call.get("stop", ...) is None:
                del call["stop"]
            tools = sorted([canonical(tool, describe) for tool in arguments.tools])
            written = (canonical(call, describe), dump(tools), canonical(arguments.schema, describe))
        parts = [identity.text, *written]
        for row in rows:
            # Most are a kind and a text, which need no JSON: it would take half the time of a key.
            parts += row if len(row) == 2 and isinstance(row[1], str) else ("json", dump(row))
        question = rows[-1][1] if rows and rows[-1][0] in _PERSONS else ""
        return cache_request(
            digest(*parts),
            arguments,
            question if isinstance(question, str) else text_of_blocks(question),
            self.attribution,
            model=identity.name,
            settings=identity.parameters,
            live=identity.live,
            caller=identity.caller,
        )


def text_of_blocks(blocks: Sequence[Any]) -> str:
    """The text of a message whose content is a list of blocks."""
    return "\n".join(block if isinstance(block, str) else str(block.get("text", "")) for block in blocks)


# How frameworks and providers name the id of a call of a tool.
_CALL_IDS = ("id", "tool_call_id", "tool_use_id", "call_id")


def renamed(call_id: object, ids: dict[str, str]) -> str | None:
    """The new name of an id; ``ids`` holds those that have appeared."""
    return None if call_id is None else ids.setdefault(str(call_id), f"call_{len(ids)}")


def is_call_id(name: str, value: object) -> bool:
    """Whether an entry of this name may be the id of a call of a tool."""
    return name in _CALL_IDS and isinstance(value, str)


def with_known_ids(content: object, ids: Mapping[str, str]) -> object:
    """Blocks of content in which those ids of calls are renamed that have a new name already; others are content."""
    if not ids or not isinstance(content, list):
        return content
    return [_with_known(block, ids) if isinstance(block, dict) else block for block in content]


def _with_known(block: dict[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    found = {name: ids[block[name]] for name in _CALL_IDS if is_call_id(name, block.get(name)) and block[name] in ids}
    return {**block, **found} if found else block


def with_renamed_ids(name: str, value: Any, ids: dict[str, str] | None) -> Any:
    """An entry beside a message as JSON types, with the ids of calls renamed at any depth; ``None``: it has none."""
    if ids is not None and is_call_id(name, value):
        return renamed(value, ids)
    if hasattr(type(value), "model_fields"):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): with_renamed_ids(str(key), item, ids) for key, item in value.items()}
    return [with_renamed_ids("", item, ids) for item in value] if isinstance(value, (list, tuple)) else value
