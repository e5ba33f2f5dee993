"""A request as the guard has it: what each field of its call is made of."""

from __future__ import annotations

from collections.abc import Mapping

from costguard_core import CostGuard
from costguard_core.lifecycle.calls import chat_call, settings_call
from costguard_core.lifecycle.model_settings import ModelSettings
from costguard_core.types import Attribution, Baseline, Call, fingerprint, step_of
from costguard_core.usage.parameters import Known
from costguard_core.usage.server_tools import ServerTools
from costguard_core.usage.token_counter import Count, ReadPrompt

WHO, TEXTS = Attribution(user="u1"), ["system", "brief", "human", "Why?", "ai", "So."]
BASELINE = Baseline("dear", "openai", 7)


def made_guard() -> CostGuard:
    prices = {"m": {"input": "1", "output": "2"}}
    return CostGuard(["9 tokens/minute"], prices=prices, loops=True, new_id=lambda: "id-1", clock=lambda: 1000.5)


def test_of_parameters() -> None:
    params = {"n": 3, "service_tier": "flex", "modalities": ("audio",), "thinking_budget": 11, "max_tokens": 77}
    prompt = ReadPrompt([("human", "Why?")], TEXTS, caches=True, caches_for_hour=True)
    with made_guard() as guard:
        call = chat_call(
            guard,
            prompt,
            Known("m", "openai"),
            params,
            WHO,
            cappable=True,
            attempts=2,
            profile={"max_output_tokens": 500, "reasoning_output": True},
            route="cheap",
            baseline=BASELINE,
            host="example.org",
            account="team",
        )
        counted = prompt.counted(guard.tokens, "m", "openai", None, 0)
    assert call == Call(
        id="id-1",
        model="m",
        started=1000.5,
        provider="openai",
        attribution=WHO,
        input_tokens=counted.bound,
        input_estimated=counted.estimated,
        max_output_tokens=77,
        output_ceiling=500,
        reasoning=True,
        cache_writes=True,
        choices=3,
        attempts=2,
        tier="flex",
        cappable=True,
        fingerprint=fingerprint(TEXTS),
        route="cheap",
        baseline=BASELINE,
        host="example.org",
        account="team",
        speaks=True,
        thinking_tokens=11,
        step=step_of(TEXTS),
        cache_for_hour=True,
    )


class Prompt:
    kind = "completion"
    is_structured = False
    read = ReadPrompt([("human", "Why?")], TEXTS, caches=True)

    def counted(self, guard: CostGuard, model: str, provider: str | None, arguments: Mapping[str, object]) -> Count:
        return Count(21, True, 23)


def made_settings() -> ModelSettings:
    return ModelSettings(
        model="m",
        provider="openai",
        identity="digest",
        temperature=None,
        choices=3,
        tier="flex",
        limit=77,
        limit_field="max_tokens",
        thinks=True,
        thinking_tokens=11,
        hosted={},
        server_tools=ServerTools(5, 13),
        live=False,
        silent_streams=False,
        reports_usage=True,
        states_own_cost=False,
        host="example.org",
        speaks=True,
    )


def test_of_settings() -> None:
    settings = made_settings()
    with made_guard() as guard:
        call = settings_call(
            guard,
            Prompt(),
            settings,
            {},
            WHO,
            started=999.5,
            fixed_output=False,
            attempts=2,
            account="team",
            route="cheap",
            baseline=BASELINE,
        )
    assert call == Call(
        id="id-1",
        model="m",
        started=999.5,
        provider="openai",
        attribution=WHO,
        input_tokens=23,
        input_estimated=True,
        max_output_tokens=77,
        reasoning=True,
        cache_writes=True,
        choices=3,
        attempts=2,
        tier="flex",
        cappable=True,
        kind="completion",
        fingerprint=fingerprint(TEXTS),
        route="cheap",
        baseline=BASELINE,
        host="example.org",
        account="team",
        speaks=True,
        searches=5,
        result_tokens=13,
        thinking_tokens=11,
        step=step_of(TEXTS),
    )


def test_of_settings_and_arguments() -> None:
    given = {"n": 5, "service_tier": "priority", "max_tokens": 99, "thinking_budget": 21, "cache_control": {}}
    asked = {**given, "modalities": ["audio"], "tools": [{"type": "web_search"}]}
    settings = made_settings()._replace(speaks=False, server_tools=ServerTools())
    called = settings.called_with(asked, counts=True)
    assert (called.choices, called.tier) == (5, "priority")
    assert (called.limit, called.limit_field, called.thinking_tokens) == (99, None, 21)
    assert (called.speaks, called.caches, called.server_tools.rounds > 0) == (True, True, True)
    uncounted = settings.called_with(asked, counts=False)
    assert (uncounted.thinking_tokens, uncounted.server_tools) == (11, ServerTools())
    assert settings.called_with({"temperature": 0.5}, counts=True) == settings
