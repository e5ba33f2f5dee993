"""Virtual models: a name such as ``auto`` stands for several models, and the core's router picks one per request."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from costguard_core.attribution import attribute, current_attribution
from costguard_core.cache.semantic.comparator.judge import ENDPOINT as JUDGE_ENDPOINT
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.lifecycle.drivers import arun
from costguard_core.pricing import PriceBook
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.content import WireContent
from costguard_core.proxy.feedback import AnswerNames
from costguard_core.proxy.own_calls import OwnCalls
from costguard_core.proxy.reply import Reply
from costguard_core.proxy.request import WireRequest
from costguard_core.proxy.settings import ProxySettings
from costguard_core.routing.cascade import RouterOptions, TierFactory
from costguard_core.routing.cascade.engine import RoutingEngine
from costguard_core.routing.checks.verify import Answer
from costguard_core.routing.conditions import Condition
from costguard_core.routing.decision import Decision
from costguard_core.routing.declared import router_options
from costguard_core.routing.request import ChatRequest, Message, block_types, chat_request, modalities_of, most_tokens
from costguard_core.routing.tier_prices import TierModel, tier_price
from costguard_core.routing.tier_result import TierResult
from costguard_core.routing.tiers import Tier
from costguard_core.types import Baseline
from costguard_core.usage.parameters import output_limit

_ROLES = {"developer": "system", "function": "tool", "function_call_output": "tool"}
_VENDORS = ("openai", "anthropic")
_JUDGE_TOKENS = 5  # of a judge's reply, which is a number
_log = logging.getLogger("costguard")


class NamedModel(NamedTuple):
    """A model as the tier of a router. ``provider`` sells it, if known."""

    name: str
    provider: str | None


class _WireTiers(TierFactory[NamedModel]):
    """Tiers that are only names: every call is metered by the proxy's own guard."""

    model_class = NamedModel
    noun = "model"

    def __init__(self, own: OwnCalls) -> None:
        self._own = own

    def runs(self, model: NamedModel) -> TierModel:
        return TierModel(*model)

    def display_name(self, model: NamedModel) -> str:
        return model.name

    def tier(self, name: str, model: NamedModel, prices: PriceBook) -> Tier:
        return Tier(name, tier_price(prices, *model), max_input_tokens=prices.context_tokens(*model))

    def guard_of(self, model: NamedModel) -> CostGuard | None:
        return None

    def guarded(self, model: NamedModel, guard: CostGuard | None, **options: object) -> NamedModel:
        return model

    def condition(self, given: object) -> Condition:
        raise ConfigurationError("a router of the proxy has no conditions")

    def ask(self, model: NamedModel, prompt: str) -> str:
        with attribute(endpoint=JUDGE_ENDPOINT):
            return self._own.ask(model.name, "", prompt, max_tokens=_JUDGE_TOKENS)


AskModel = Callable[..., Awaitable[Reply]]
"""Opens the reply of a model: called with its name, and ``route`` and ``baseline`` of :class:`WireRequest`."""


class WireRouter:
    """A virtual model.

    Args:
        name: as clients write it.
        models: its tiers, cheapest first.
        engine: decides.
        settings: of the proxy.
        own: makes the second calls of the prompt log.
        names: of the answers in it.
    """

    def __init__(
        self,
        name: str,
        models: Mapping[str, NamedModel],
        engine: RoutingEngine,
        settings: ProxySettings,
        own: OwnCalls,
        names: AnswerNames,
    ) -> None:
        self.name, self.models, self.engine = name, models, engine
        self._settings, self._own, self._names = settings, own, names

    def feedback(self, sample: str, quality: float, caller: Caller) -> bool:
        """Note in the prompt log what ``caller`` thinks of an answer; whether it got such an answer from here."""
        if not self._names.is_sample(sample, self.name, caller):
            return False
        return self.engine.feedback(sample, quality)

    async def open(self, content: WireContent, ask: AskModel) -> tuple[Reply, Decision]:
        """The reply of the tier that answers, and why it did.

        Args:
            content: what is asked; the model in it means nothing.
            ask: asks one model.
        """
        cascade = await self.engine.astart(_request_of(content), content.caller.attribution, partial(_read, content))

        async def ask_tier(decision: Decision) -> Reply:
            baseline: Baseline | None = cascade.baseline()
            reply = await ask(self.models[decision.tier].name, route=decision.text, baseline=baseline)
            if cascade.is_checked:
                try:
                    await reply.read()
                except BaseException:
                    await reply.aclose()
                    raise
            return reply

        reply: Reply = await arun(cascade.steps(ask_tier, close=Reply.aclose))
        if cascade.is_sampled and content.may_repeat:
            sample = self._names.seal_sample(cascade.decision.sample or "", self.name, content.caller)
            cascade.decision = replace(cascade.decision, sample=sample)
            reply.request.sample = sample
            again = _AskedAgain(content, self.models, self._settings, self._own)
            if reply.request.streamed:
                reply.after = lambda: cascade.sample(again, _read(content, reply))
            else:
                cascade.sample(again)
        return reply, cascade.decision_with_costs(ended=not reply.request.streamed)


class _AskedAgain(NamedTuple):
    """One request once more, for the prompt log (:class:`~costguard_core.routing.shadow.sampling.RepeatedCall`)."""

    content: WireContent
    models: Mapping[str, NamedModel]
    settings: ProxySettings
    own: OwnCalls

    def ask_again(self, tier: str) -> TierResult:
        model = self.models[tier].name
        upstream = self.settings.upstream(model, self.content.form.vendor)
        if upstream is None:
            raise ConfigurationError(f"no upstream serves {model!r}")
        content = self.content.again(model, upstream, Caller(current_attribution()))
        return _read(content, self.own.run(self.own.open(content, route=f"shadow: {tier}")))

    def input_tokens(self) -> int:
        return most_tokens(self.content.read.texts)

    def output_limit(self, tier: str) -> int | None:
        return output_limit(self.content.parameters)


def open_routers(settings: ProxySettings, guard: CostGuard, own: OwnCalls, names: AnswerNames) -> dict[str, WireRouter]:
    """The virtual models of the settings, by name. ``own`` asks their judges, ``names`` are given to sampled answers.

    Raises:
        ConfigurationError: tiers or options that do not fit together, or a tier that no upstream serves.
    """
    made = {}
    for name, given in settings.routers.items():
        options = dict(given)
        try:
            models = {tier: _named(settings, name, tier) for tier in options.pop("tiers", ())}
            if "judge" in options:
                options["judge"] = NamedModel(own.check(options["judge"], "judge"), None)
            named, engine = _WireTiers(own).build((), models, RouterOptions(guard=guard, **router_options(options)))
        except ConfigurationError as error:
            raise ConfigurationError(f"[proxy.routers.{name}]: {error}") from None
        if not _serves(settings, models):
            raise ConfigurationError(
                f"[proxy.routers.{name}]: its tiers are asked in one format, and no vendor serves all"
            )
        made[name] = WireRouter(name, named, engine, settings, own, names)
    return made


def with_shared_routers(settings: ProxySettings, routers: Mapping[str, Mapping[str, Any]]) -> ProxySettings:
    """The settings with the routers that the policy file declares for everybody, ``[routers.NAME]``.

    One of ``[proxy.routers]`` wins over one of the same name. A router with a tier that no upstream serves is for the
    Python packages alone, which the log says.
    """
    shared = {}
    for name, given in routers.items():
        if name in settings.routers or name in settings.aliases:
            continue
        if _serves(settings, given["tiers"]):
            shared[name] = given
        else:
            _log.warning("costguard: [routers.%s] is no model of the proxy: no upstream serves all its tiers", name)
    return replace(settings, routers={**shared, **settings.routers}) if shared else settings


def _serves(settings: ProxySettings, tiers: Collection[str]) -> bool:
    """Whether the upstreams of one vendor serve all tiers."""
    return any(all(settings.upstream(tier, vendor) for tier in tiers) for vendor in _VENDORS)


def _named(settings: ProxySettings, router: str, model: str) -> NamedModel:
    if model in settings.routers:
        raise ConfigurationError(f"{model!r} is a router itself")
    upstream = settings.upstream(model, None)
    if upstream is None:
        raise ConfigurationError(f"no upstream serves {model!r}")
    return NamedModel(model, upstream.provider)


def _request_of(content: WireContent) -> ChatRequest:
    parameters = content.parameters
    messages = content.prompt.messages
    texts = content.read.texts[1::2]
    read = [Message(_ROLES.get(said.role, said.role), text) for said, text in zip(messages, texts, strict=True)]
    return chat_request(
        messages,
        read,
        content.caller.attribution,
        output_tokens=output_limit(parameters),
        tools=len(parameters.get("tools") or ()),
        structured=_is_structured(content),
        modalities=modalities_of(block_types(said.content for said in messages)),
    )


def _is_structured(content: WireContent) -> bool:
    choice = content.parameters.get("tool_choice")
    return content.wants_form and choice in (None, "auto", "none")


def _read(content: WireContent, reply: Reply) -> TierResult:
    """What the reply of a tier means."""
    request: WireRequest = reply.request
    form, body = content.form, request.answered or {}
    text, tools = form.text(body), form.called_tools(body)
    reasons = form.finish_reasons(body)
    refusal = request.refusal
    return TierResult(
        Answer(text, reasons[0] if reasons else None, tools),
        request.usage,
        refused=refusal is not None,
        downgrade=refusal is not None and refusal.on_exceed == "downgrade",
        from_cache=request.is_hit,
        unparsed=bool(body) and not tools and _is_structured(content) and not _is_json(text),
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
