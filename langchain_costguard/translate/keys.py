"""A LangChain request → its key: from objects where there are objects, from strings where not.

Both ways lead to the same key for the same request, so that ``invoke`` behind ``set_llm_cache`` and a guarded stream
share their entries.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Hashable
from typing import Any

from cachetools.keys import hashkey
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from costguard_core.cache import CacheKey, CachePolicy, NotCanonical, Uncacheable
from costguard_core.cache.control import current_control
from costguard_core.cache.identity import Identity
from costguard_core.cache.message_rows import RowRequest
from costguard_core.cache.unchanged import OncePerClass
from costguard_core.util.lru import LRUMap
from langchain_costguard.translate.content import ChatContent, TextContent
from langchain_costguard.translate.identity import Models, called_with, identity_of
from langchain_costguard.translate.messages import rows_of, rows_of_json

_REMEMBERED_PROMPTS, _REMEMBERED_CHARACTERS = 512, 64_000


class RequestKeys:
    """Makes keys under one policy; remembers models, schemas and recent prompts, so that a hit repeats no work."""

    def __init__(self, policy: CachePolicy) -> None:
        self.policy = policy
        self.models = Models()
        self._describe = OncePerClass(_schema)
        # By LangChain's two strings, the model's identity and caller, who asks and wishes.
        self._recent: LRUMap[Hashable, CacheKey | Uncacheable] = LRUMap(_REMEMBERED_PROMPTS)

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
        asked = None if identity is None else (identity.text, identity.caller)
        known = hashkey(prompt, llm_string, asked, attribution, current_control())  # hashed once, and used three times
        key = self._recent.get(known)
        if key is None:
            key = self._raw_key(content, identity)
            self._recent.put(known, key)
        return key

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
