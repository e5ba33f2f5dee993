"""Structured output of a router: each tier parses its own way; with ``verify=``, what does not parse escalates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig

from costguard_core.lifecycle.drivers import arun, run
from costguard_core.routing.tier_result import TierResult
from langchain_costguard.chat_model.guarded import GuardedChatModel
from langchain_costguard.chat_model.rebind import rebound
from langchain_costguard.router.tier_call import TierCall
from langchain_costguard.router.translate import with_route
from langchain_costguard.translate.keys import Config

if TYPE_CHECKING:
    from langchain_costguard.router.router import TieredRouter

Reply = dict[str, Any]  # raw, parsed and parsing_error, as LangChain returns them with include_raw=True


class RoutedOutput(Runnable[LanguageModelInput, Any]):
    """What ``router.with_structured_output(schema)`` returns."""

    def __init__(self, router: TieredRouter, schema: Any, options: dict[str, Any]) -> None:
        self._router = router
        self._include_raw = bool(options.get("include_raw"))
        self._chains, with_raw = dict[str, Runnable[Any, Any]](), {**options, "include_raw": True}
        for name, model in router.models.items():
            # The raw answer is needed for its usage and its mark; whoever did not ask for it is given no static reply.
            asked = model.model if isinstance(model, GuardedChatModel) and not self._include_raw else model
            self._chains[name] = rebound(asked.with_structured_output(schema, **with_raw), asked, model)

    def invoke(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Any:
        call = self._call(input, config, kwargs).start()
        return self._output(run(call.cascade.steps(call.ask("invoke"), unparsed=_unparsed)), call)

    async def ainvoke(self, input: LanguageModelInput, config: Config = None, **kwargs: object) -> Any:
        call = await self._call(input, config, kwargs).astart()
        return self._output(await arun(call.cascade.steps(call.ask("ainvoke"), unparsed=_unparsed)), call)

    def _call(self, input: LanguageModelInput, config: Config, kwargs: dict[str, object]) -> _Call:
        router = self._router
        messages = router._convert_input(input).to_messages()
        return _Call(self._chains, router, messages, router._config(config), kwargs)

    def _output(self, reply: Reply, call: _Call) -> Any:
        decision = call.finish(reply["raw"])
        if self._include_raw:
            return {**reply, "raw": with_route(reply["raw"], decision)}
        if reply["parsing_error"] is not None:
            raise reply["parsing_error"]
        return reply["parsed"]


class _Call(TierCall[Reply]):
    """A request that the tiers answer through chains of their own, which parse."""

    is_structured = True

    def __init__(self, chains: dict[str, Runnable[Any, Any]], *call: Any) -> None:
        super().__init__(*call)
        self._chains = chains

    def send(self, method: str, tier: str, config: RunnableConfig, **options: object) -> Any:
        return getattr(self._chains[tier], method)(self.messages, config, **self.options, **options)

    def read(self, reply: Reply) -> TierResult:
        unparsed = reply["parsing_error"] is not None or reply["parsed"] is None
        return self.result(reply["raw"])._replace(unparsed=unparsed)

    def result_again(self, reply: Reply) -> TierResult:
        return self.result(reply["raw"])


def _unparsed(error: Exception) -> Reply:
    return {"raw": AIMessage(""), "parsed": None, "parsing_error": error}
