"""A LangChain request → its key: from objects where there are objects, from strings where not.

Both ways lead to the same key for the same request, so that ``invoke`` behind ``set_llm_cache`` and a guarded stream
share their entries.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Request, Uncacheable, canonical
from costguard_core.cache.arguments import NO_ARGUMENTS, Arguments, cache_request
from costguard_core.cache.control import CacheControl, current_control
from costguard_core.cache.identity import Identity
from costguard_core.cache.keys import Describe, digest, dump, nothing_else
from costguard_core.cache.parameters import caller_of
from costguard_core.types import Attribution
from costguard_core.util.lru import LRUMap
from langchain_costguard.translate.content import ChatContent, TextContent
from langchain_costguard.translate.identity import Models, called_with, identity_of
from langchain_costguard.translate.messages import question_of, rows_of, rows_of_json

_REMEMBERED_PROMPTS, _REMEMBERED_CHARACTERS = 512, 64_000
_NOTHING = ("{}", "[]", "null")  # what a request without arguments, tools and schema has of them in its digest

# A request as LangChain hands it to a cache: prompt, string of the model, its identity and caller, who asks, wishes.
_Raw = tuple[str, str, tuple[str, str] | None, Attribution, CacheControl]


class RequestKeys:
    """Makes keys under one policy; remembers models, schemas and recent prompts, so that a hit repeats no work."""

    def __init__(self, policy: CachePolicy) -> None:
        self.policy = policy
        self.models = Models()
        self._schemas: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._recent: LRUMap[_Raw, CacheKey | Uncacheable] = LRUMap(_REMEMBERED_PROMPTS)

    def chat(self, content: ChatContent) -> CacheKey | Uncacheable:
        """The key of a chat request, from the model's fields as they are now; classes and functions by schema."""
        model, messages, stop, kwargs, attribution = content
        try:
            identity = self.models.of(model)
            rows = rows_of(messages)
            request = _request(identity, rows, stop, kwargs, attribution, describe=self._describe)
        except NotCanonical as error:
            return Uncacheable(str(error))
        return self.policy.key(request)

    def raw(self, content: TextContent) -> CacheKey | Uncacheable:
        """The key of what LangChain hands to a cache.

        A class or function among the parameters makes the request :class:`Uncacheable`: LangChain keys only its name.
        """
        prompt, llm_string, attribution, model, stop, kwargs, complete, _ = content
        try:
            identity = None if model is None else self.models.of(model)
        except NotCanonical as error:
            return Uncacheable(str(error))
        if not complete or len(prompt) + len(llm_string) > _REMEMBERED_CHARACTERS:
            return self._raw_key(prompt, llm_string, identity, stop, kwargs, attribution)
        asked = None if identity is None else (identity.text, identity.caller)
        known = (prompt, llm_string, asked, attribution, current_control())
        key = self._recent.get(known)
        if key is None:
            key = self._raw_key(prompt, llm_string, identity, stop, kwargs, attribution)
            self._recent.put(known, key)
        return key

    def _raw_key(
        self,
        prompt: str,
        llm_string: str,
        identity: Identity | None,
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
        attribution: Attribution,
    ) -> CacheKey | Uncacheable:
        try:
            if identity is None:
                identity, kwargs = _parsed(llm_string)
            rows = rows_of_json(prompt)
            request = _request(identity, [["text", prompt]] if rows is None else rows, stop, kwargs, attribution)
        except NotCanonical as error:
            return Uncacheable(str(error))
        return self.policy.key(request)

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


def _request(
    identity: Identity,
    rows: Sequence[Sequence[Any]],
    stop: Sequence[str] | None,
    kwargs: Mapping[str, Any],
    attribution: Attribution,
    *,
    describe: Describe = nothing_else,
) -> Request:
    call: dict[str, Any] = {}
    caller = identity.caller
    if kwargs:
        caller += caller_of(kwargs)
        identity, call = called_with(identity, kwargs)
    if stop:
        call["stop"] = list(stop)
    arguments, written = NO_ARGUMENTS, _NOTHING
    if call:
        arguments = Arguments.of(call)
        if call.get("stop", ...) is None:
            del call["stop"]
        tools = sorted([canonical(tool, describe) for tool in arguments.tools])
        written = (canonical(call, describe), dump(tools), canonical(arguments.schema, describe))
    parts = [identity.text, *written]
    for row in rows:
        # Most are a kind and a text, which need no JSON: it would take half the time of a key.
        parts += row if len(row) == 2 and isinstance(row[1], str) else ("json", dump(row))
    return cache_request(
        digest(*parts),
        arguments,
        question_of(rows),
        attribution,
        model=identity.name,
        settings=identity.parameters,
        live=identity.live,
        caller=caller,
    )


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


def _schema(value: Any) -> Any:
    if isinstance(value, type) and issubclass(value, BaseModel):
        return {"pydantic": value.model_json_schema()}
    if isinstance(value, (type, BaseTool)) or callable(value):
        try:
            return convert_to_openai_tool(value)
        except Exception:
            raise NotCanonical(f"the schema of {getattr(value, '__name__', type(value).__name__)!r}") from None
    raise NotCanonical(f"a value of type {type(value).__name__}")
