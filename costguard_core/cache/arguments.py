"""The arguments of a call as its key has them, in the names that providers and frameworks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from costguard_core.cache.cacheability import classify
from costguard_core.cache.keys import NotCanonical
from costguard_core.cache.policy import Request
from costguard_core.cache.provider_tools import has_live_option, is_live_model, is_live_tool
from costguard_core.cache.secrets import signs_in
from costguard_core.types import Attribution

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
