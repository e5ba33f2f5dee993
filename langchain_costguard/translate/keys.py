"""A LangChain request → its key: from objects where there are objects, from strings where not.

Both ways lead to the same key for the same request, so that ``invoke`` behind ``set_llm_cache`` and a guarded stream
share their entries.
"""

from __future__ import annotations

import ast
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseLanguageModel
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Request, Uncacheable, canonical
from costguard_core.cache.control import current_control
from costguard_core.cache.keys import Describe, digest, dump, nothing_else
from costguard_core.cache.provider_tools import is_live_name, is_live_tool
from costguard_core.cache.secrets import signs_in
from costguard_core.types import Attribution
from langchain_costguard.translate.identity import Identity, Models
from langchain_costguard.translate.messages import question_of, rows_of, rows_of_json

T = TypeVar("T")

_TOOLS = ("tools", "functions")
_SCHEMA = "response_format"
_REMEMBERED_PROMPTS, _REMEMBERED_CHARACTERS, _REMEMBERED_KINDS = 512, 64_000, 10_000


class RequestKeys:
    """Makes keys under one policy; remembers models, schemas and recent prompts, so that a hit repeats no work."""

    def __init__(self, policy: CachePolicy) -> None:
        self.policy = policy
        self._models = Models()
        self._schemas: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._kinds: Recent[tuple[bool, bool]] = Recent(_REMEMBERED_KINDS)
        self._recent: Recent[CacheKey | Uncacheable] = Recent(_REMEMBERED_PROMPTS)

    def chat(
        self,
        model: BaseLanguageModel[Any],
        messages: Sequence[BaseMessage],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
    ) -> CacheKey | Uncacheable:
        """The key of a chat request, from the model's fields as they are now; classes and functions by schema."""
        try:
            identity = self._models.identity(model)
            request = _request(identity, rows_of(messages), stop, kwargs, describe=self._describe)
        except NotCanonical as error:
            return Uncacheable(str(error))
        return self._made(request, attribution)

    def raw(
        self,
        prompt: str,
        llm_string: str,
        attribution: Attribution,
        *,
        model: BaseLanguageModel[Any] | None = None,
        stop: Sequence[str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        complete: bool = True,
    ) -> CacheKey | Uncacheable:
        """The key of what LangChain hands to a cache; where the ``model`` is known it is believed, not the string.

        ``complete`` says that ``llm_string`` holds the arguments of the call, as it does for chat models.
        A class or function among the parameters makes the request :class:`Uncacheable`: LangChain keys only its name.
        """
        try:
            identity = None if model is None else self._models.identity(model)
        except NotCanonical as error:
            return Uncacheable(str(error))
        if not complete or len(prompt) + len(llm_string) > _REMEMBERED_CHARACTERS:
            return self._made(_raw_request(prompt, llm_string, identity, stop, kwargs or {}), attribution)
        known = (prompt, llm_string, identity and identity.text, attribution, current_control())
        key = self._recent.get(known)
        if key is None:
            key = self._made(_raw_request(prompt, llm_string, identity, stop, kwargs or {}), attribution)
            self._recent.put(known, key)
        return key

    def _made(self, request: Request | Uncacheable, attribution: Attribution) -> CacheKey | Uncacheable:
        if isinstance(request, Uncacheable):
            return request
        return self.policy.key(self._classified(request)._replace(attribution=attribution))

    def _classified(self, request: Request) -> Request:
        # Reading a long question takes longer than a hit; the same request has the same question.
        kinds = self._kinds.get(request.digest)
        if kinds is not None:
            return request._replace(dynamic=kinds[0], personal=kinds[1])
        request = request.classified()
        self._kinds.put(request.digest, (request.dynamic, request.personal))
        return request

    def _describe(self, value: Any) -> Any:
        """A class, function or tool as the schema that the provider is sent."""
        try:
            known = self._schemas.get(value)
        except TypeError:  # not hashable, or takes no weak references
            return _schema(value)
        if known is None:
            known = _schema(value)
            if isinstance(value, type):  # an object could be changed after we have seen it
                self._schemas[value] = known
        return known


class Recent(Generic[T]):
    """A small least-recently-used memory, safe for threads."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, Lock()
        self._items: OrderedDict[Any, T] = OrderedDict()

    def get(self, key: Any) -> T | None:
        with self._lock:
            found = self._items.get(key)
            if found is not None:
                self._items.move_to_end(key)
            return found

    def put(self, key: Any, value: T) -> None:
        with self._lock:
            self._items[key] = value
            if len(self._items) > self._size:
                self._items.popitem(last=False)


def _request(
    identity: Identity,
    rows: Sequence[Sequence[Any]],
    stop: Sequence[str] | None,
    kwargs: Mapping[str, Any],
    *,
    describe: Describe = nothing_else,
) -> Request:
    identity, call = identity.called_with(kwargs)
    declared = [_tool(tool) for name in _TOOLS for tool in call.pop(name, None) or ()]
    schema = call.pop(_SCHEMA, None)
    if stop:
        call["stop"] = list(stop)
    if call.get("stop", ...) is None:
        del call["stop"]
    found = digest(
        identity.text,
        canonical(call, describe),
        dump(sorted(canonical(tool, describe) for tool in declared)),
        canonical(schema, describe),
        *_spelled(rows),
    )
    given = {**identity.parameters, **call}
    return Request(
        digest=found,
        model=_text(call.get("model")) or identity.name,
        question=question_of(rows),
        temperature=_number(given.get("temperature")),
        choices=_count(given.get("n")),
        live_tools=any(is_live_tool(tool) for tool in declared) or any(is_live_name(name) for name in call),
    )


def _spelled(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Each row as two parts. Most are a kind and a text, which need no JSON: it would take half the time of a key."""
    for row in rows:
        if len(row) == 2 and isinstance(row[1], str):
            yield from row
        else:
            yield "json"
            yield dump(row)


def _raw_request(
    prompt: str, llm_string: str, identity: Identity | None, stop: Sequence[str] | None, kwargs: Mapping[str, Any]
) -> Request | Uncacheable:
    try:
        if identity is None:
            identity, kwargs = _parsed(llm_string)
        rows = rows_of_json(prompt)
        return _request(identity, [["text", prompt]] if rows is None else rows, stop, kwargs)
    except NotCanonical as error:
        return Uncacheable(str(error))


def _parsed(llm_string: str) -> tuple[Identity, dict[str, Any]]:
    """The model and the call's arguments in LangChain's string: ``{json}---[(name, value), ...]`` or only the list."""
    written, separator, listed = llm_string.rpartition("---[")
    if separator and written.startswith("{"):
        try:
            model = json.loads(written)
            return Identity.of(tuple(model["id"]), model.get("kwargs", {})), _pairs("[" + listed)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotCanonical("a model string of an unknown form") from None
    if llm_string.startswith("[("):
        return Identity.of((), _pairs(llm_string)), {}
    if any(mark in llm_string for mark in (" at 0x", "<class ", "<function ", "<bound method ")):
        raise NotCanonical("a parameter of which only the name is known")
    return Identity.of(("string",), {"llm": llm_string}), {}


def _pairs(listed: str) -> dict[str, Any]:
    try:
        return dict(ast.literal_eval(listed))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise NotCanonical("a parameter of which only the name is known") from None


def _schema(value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"pydantic": value.model_json_schema()}
    if isinstance(value, (type, BaseTool)) or callable(value):
        try:
            return convert_to_openai_tool(value)
        except Exception:
            raise NotCanonical(f"the schema of {getattr(value, '__name__', type(value).__name__)!r}") from None
    raise NotCanonical(f"a value of type {type(value).__name__}")


def _tool(tool: Any) -> Any:
    if signs_in(tool):
        raise NotCanonical("a tool that signs in as somebody")
    return tool


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1
