"""One request to a guarded model: what is asked, what it may cost, and what was said of it in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.caches import BaseCache
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from costguard_core import Call, Charge, Usage
from costguard_core.attribution import current_attribution
from costguard_core.budgets.admission import Permit
from langchain_costguard.chat_model.answers import Facts, Question, Served, Turn
from langchain_costguard.translate import parameters as calls

if TYPE_CHECKING:
    from langchain_costguard.chat_model.guarded import GuardedChatModel

# LangChain gives `_stream` no run manager and so no metadata: the attribution travels in the keyword arguments.
TICKET = "costguard_ticket"
_LONG_PROMPT = 20_000  # characters


class Ticket:
    """What is known of a request before its messages arrive, and what LangChain had worked out by then."""

    __slots__ = ("attribution", "baseline", "begun", "ls", "params", "route")

    def __init__(self, metadata: Mapping[str, Any] | None) -> None:
        self.attribution = current_attribution(metadata)
        self.route: str | None = (metadata or {}).get(calls.ROUTE)
        self.baseline = calls.baseline_of(metadata or {}) if self.route is not None else None
        self.ls: Mapping[str, Any] | None = None
        self.params: Mapping[str, Any] | None = None
        self.begun: Turn | None = None


class Ask:
    """One request, understood: what it asks, which cache may know the answer, and what is known already."""

    __slots__ = ("_outer", "cache", "question", "ticket")

    def __init__(self, outer: GuardedChatModel, question: Question, cache: BaseCache | None, ticket: Ticket) -> None:
        self._outer, self.question, self.cache, self.ticket = outer, question, cache, ticket

    def _params(self) -> Mapping[str, Any]:
        """How the model is invoked; LangChain has mostly worked that out already."""
        sent, stop = self.question.kwargs, self.question.stop
        return {**(self.ticket.params or self.question.model._get_invocation_params(stop=stop, **sent)), **sent}

    def _ls(self) -> Mapping[str, Any]:
        sent, stop = self.question.kwargs, self.question.stop
        return self.ticket.ls or self.question.model._get_ls_params(stop=stop, **sent)

    def call(self) -> Call:
        """The request in the core's words; its prompt is counted if a budget needs that."""
        return calls.chat_call(
            self._outer.guard,
            self.question.messages,
            ls=self._ls(),
            params=self._params(),
            attribution=self.question.attribution,
            cappable=self._limit_parameter is not None,
            attempts=self._outer.billed_attempts,
            profile=self._outer.profile,
            route=self.ticket.route,
            baseline=self.ticket.baseline,
        )

    async def acall(self) -> Call:
        """:meth:`call` for an event loop."""
        # Counting a long prompt takes tens of milliseconds: not on the event loop.
        if self._outer.guard.counts_tokens and sum(len(str(m.content)) for m in self.question.messages) > _LONG_PROMPT:
            return await asyncio.to_thread(self.call)
        return self.call()

    @property
    def _limit_parameter(self) -> str | None:
        return None if self._outer.fixed_output else calls.limit_parameter(type(self.question.model).model_fields)

    def sent(self, permit: Permit) -> dict[str, Any]:
        """The keyword arguments of the request, with the cap that the budget set."""
        if permit.max_output_tokens is None or self._limit_parameter is None:
            return dict(self.question.kwargs)
        return calls.capped(self.question.kwargs, self._params(), self._limit_parameter, permit.max_output_tokens)

    def hit(self, served: Served) -> list[ChatGeneration]:
        """Record that the cache has answered; returns the answer."""
        usage, saved, model, provider = served.facts
        if model is None:
            model, provider = calls.model_name(self._ls(), {}), self._ls().get("ls_provider")
        who, ticket = self.question.attribution, self.ticket
        call = calls.hit_call(
            self._outer.guard,
            self.question.messages,
            model,
            provider,
            who,
            route=ticket.route,
            baseline=ticket.baseline,
        )
        if saved is None and usage is not None:
            saved = self._outer.guard.prices.cost(usage, model=model, provider=provider, at=call.started)
        self._outer.guard.hit(call, served.outcome, saved=saved, usage=usage)
        return served.generations

    def told(self, permit: Permit, result: ChatResult) -> tuple[Permit, Usage | None, str | None, str]:
        """What the provider said about a finished call: the arguments of :meth:`CostGuard.after`."""
        usage = calls.result_usage(result.generations, result.llm_output)
        model = calls.answering_model(result.generations, result.llm_output)
        if usage is not None:
            return permit, usage, model, ""
        return self._prompt_counted(permit), None, model, calls.text_of(result.generations)

    def broken(
        self, permit: Permit, error: BaseException, chunks: Sequence[ChatGenerationChunk]
    ) -> tuple[Permit, BaseException, Usage | None, str | None]:
        """What is known about a stream that did not end: the arguments of :meth:`CostGuard.fail`."""
        if not chunks:
            return permit, error, None, None
        return self._prompt_counted(permit), error, None, calls.text_of(chunks)

    def _prompt_counted(self, permit: Permit) -> Permit:
        return calls.prompt_counted(self._outer.guard, permit, self.question.messages, self._params())


def paid_answer(result: ChatResult, charge: Charge, call: Call) -> tuple[list[ChatGeneration], Facts]:
    """A paid answer as the cache keeps it: with the response metadata that LangChain adds to it afterwards."""
    told = result.llm_output or {}
    kept = []
    for generation in result.generations:
        message = generation.message.model_copy()
        message.response_metadata = {**told, **(generation.generation_info or {}), **message.response_metadata}
        kept.append(ChatGeneration(message=message, generation_info=generation.generation_info))
    return kept, Facts(charge.usage, charge.cost, charge.model, call.provider)
