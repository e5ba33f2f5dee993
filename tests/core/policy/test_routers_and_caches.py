"""Routers and rules of caches that a policy file declares: what it may say, and that both adapters do it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_events import events

from costguard_core import ConfigurationError, CostGuard, attribute
from costguard_core.policy import PolicyError, parse_policy
from costguard_core.routing import Request
from costguard_core.routing.declared import router_options
from costguard_core.simulate import Simulator

FILE = """
prices = { "cheap" = { input = "1", output = "2" }, "strong" = { input = "10", output = "20" } }

[cache]
ttl = "1h"

[endpoints."/now"]
cache = { enabled = false }

[routers.auto]
tiers = ["cheap", "strong"]
threshold = 0.5
rules = [
  { endpoint = ["/legal", "/tax"], tier = "strong" },
  { min_input_tokens = 500, tier = "cheap" },
]
"""
LONG = "Summarise this. " + "a long document, which goes on " * 200
HARD = (
    "Prove by induction that the sum of the first n odd numbers is n squared, then explain step by step why the same "
    "argument fails for even numbers, and write a Python function that checks it: def check(n): return sum(...)"
)


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[CostGuard]:
    path = tmp_path / "costguard.toml"
    path.write_text(FILE)
    with CostGuard.from_file(path, watch=None) as made:
        yield made


def langchain_router(server: Simulator, guard: CostGuard, **options: Any) -> Any:
    from langchain_costguard import TieredRouter

    router = TieredRouter.from_policy(guard, "auto", langchain_models(server), **options)
    return router, lambda text: router.invoke(text).text


def langchain_models(server: Simulator) -> dict[str, Any]:
    from langchain_openai import ChatOpenAI

    return {
        name: ChatOpenAI(model=name, base_url=server.base_url, api_key="k", max_retries=0)  # type: ignore[arg-type]
        for name in ("strong", "cheap")
    }


def llamaindex_router(server: Simulator, guard: CostGuard, **options: Any) -> Any:
    from llamaindex_costguard import TieredRouter

    router = TieredRouter.from_policy(guard, "auto", llamaindex_models(server), **options)
    return router, lambda text: router.complete(text).text


def llamaindex_models(server: Simulator) -> dict[str, Any]:
    from llama_index.llms.openai_like import OpenAILike

    return {
        name: OpenAILike(model=name, api_base=server.base_url, api_key="k", is_chat_model=True, max_retries=0)
        for name in ("strong", "cheap")
    }


ROUTERS = [pytest.param(langchain_router, id="langchain"), pytest.param(llamaindex_router, id="llamaindex")]


@pytest.mark.parametrize("make", ROUTERS)
def test_both_adapters_route_by_the_file(make: Any, guard: CostGuard, openai_server: Simulator) -> None:
    _, ask = make(openai_server, guard)
    with attribute(endpoint="/tax"):
        ask("Hi")
    with attribute(endpoint="/chat"):
        for text in ("What is the capital of France?", LONG, HARD):
            ask(text)
    assert [request.body["model"] for request in openai_server.requests] == ["strong", "cheap", "cheap", "strong"]
    routes = [event.route or "" for event in events(guard)]
    assert "rule 1: endpoint" in routes[0]
    assert "rule 2: min_input_tokens" in routes[2]


@pytest.mark.parametrize("make", ROUTERS)
@pytest.mark.parametrize("cache", ["memory://", "object"])
def test_a_cache_without_rules_of_its_own_keeps_those_of_the_file(
    make: Any, cache: str, guard: CostGuard, openai_server: Simulator
) -> None:
    if cache == "object":
        import langchain_costguard
        import llamaindex_costguard

        kept: Any = (langchain_costguard if make is langchain_router else llamaindex_costguard).ExactCache()
        _, ask = make(openai_server, guard, cache=kept)
        assert kept.policy == guard.cache_policy
    else:
        _, ask = make(openai_server, guard, cache=cache)
    for endpoint in ("/now", "/now", "/chat", "/chat"):
        with attribute(endpoint=endpoint):
            ask("What is in stock?")
    assert len(openai_server.requests) == 3  # /now is never answered from the cache


def test_a_cache_with_rules_of_its_own_keeps_them(guard: CostGuard) -> None:
    from costguard_core.cache import CachePolicy
    from costguard_core.cache.declared import under_rules
    from langchain_costguard import ExactCache, LayeredCache

    own = CachePolicy(ttl=5)
    assert under_rules(ExactCache(policy=own), guard).policy is own
    assert under_rules(ExactCache(ttl=7), guard).policy.ttl == 7  # beside the rest of the file
    assert under_rules(ExactCache(ttl=7), guard).policy.by_endpoint == guard.cache_policy.by_endpoint
    assert under_rules(LayeredCache([ExactCache()]), guard).layers[0].policy is guard.cache_policy
    with CostGuard() as bare:
        assert under_rules(ExactCache(), bare).policy == CachePolicy()
    assert under_rules(None, guard) is None


@pytest.mark.parametrize("make", ROUTERS)
def test_what_the_file_does_not_declare_is_said_with_the_nearest(
    make: Any, guard: CostGuard, openai_server: Simulator
) -> None:
    router, _ = make(openai_server, guard)
    models = dict(router.models)
    for arguments, text in (
        ((guard, "atuo", models), "did you mean 'auto'"),
        ((guard, "auto", {"cheap": models["cheap"]}), "models= has none for 'strong'"),
        ((guard, "auto", {**models, "stronk": models["cheap"]}), "did you mean 'strong'"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            type(router).from_policy(*arguments)
    with CostGuard() as bare, pytest.raises(ConfigurationError, match=r"CostGuard\.from_file"):
        type(router).from_policy(bare, "auto", models)


@pytest.mark.parametrize("make", ROUTERS)
def test_the_judge_of_the_file_is_one_of_the_models(
    make: Any, openai_server: Simulator, tmp_path: Path, guard: CostGuard
) -> None:
    models = (langchain_models if make is langchain_router else llamaindex_models)(openai_server)
    path = tmp_path / "judged.toml"
    path.write_text('[routers.auto]\ntiers = ["cheap", "strong"]\nshare = 0.5\njudge = "other"\n')
    with CostGuard.from_file(path, watch=None) as judged:
        kind = type(make(openai_server, guard)[0])
        with pytest.raises(ConfigurationError, match="models= has none for 'other'"):
            kind.from_policy(judged, "auto", models)
        router = kind.from_policy(judged, "auto", {**models, "other": models["cheap"]})
        assert set(router.models) == {"cheap", "strong"}
        assert router.engine.router.has_judge
        assert kind.from_policy(judged, "auto", models, judge=lambda request: 0.5).engine.router.has_judge


@pytest.mark.parametrize("make", ROUTERS)
def test_options_beside_the_file_win(make: Any, guard: CostGuard, openai_server: Simulator) -> None:
    _, ask = make(openai_server, guard, share=1.0, score=lambda request: 0.0)
    ask("Hi")
    assert openai_server.requests[0].body["model"] == "strong"


@pytest.mark.parametrize("table", ["routers", "proxy.routers"])
@pytest.mark.parametrize(
    ("line", "key", "text"),
    [
        ('rules = [{ endpoint = "/a", teir = "b" }]', "teir", "did you mean 'tier'"),
        ('rules = [{ endpoint = "/a", tier = "c" }]', "tier", "'c' is none of the tiers"),
        ('rules = [{ tier = "b" }]', "rules", "a table: a tier, and what a request must be"),
        ('rules = [{ modality = "imgae", tier = "b" }]', "modality", "did you mean 'image'"),
        ('rules = [{ min_input_tokens = 9, max_input_tokens = 8, tier = "b" }]', "max_input_tokens", "no prompt fits"),
        ('default = "bb"', "default", "did you mean 'b'"),
        ("share = [0.1, 0.2]", "share", "2 tiers take 1 shares"),
        ('budget = "$5/dya"', "budget", 'Did you mean "day"'),
        ('treshold = "x"', "treshold", "did you mean 'threshold'"),
    ],
)
def test_what_no_router_can_follow_is_said_with_its_place(table: str, line: str, key: str, text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(f'[{table}.auto]\ntiers = ["a", "b"]\n{line}\n')
    place, _, said = next(problem for problem in caught.value.problems if key in problem[1])
    assert place.line == 3
    assert text in said


def test_the_prompt_log_and_the_trained_router_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "router.json").write_text("{}")
    text = '[routers.auto]\ntiers = ["a", "b"]\nscore = "router.json"\nlog = "prompts.db"\nshadow = 0.1\n'
    declared = parse_policy(text, path=tmp_path / "costguard.toml").routers["auto"]
    assert declared["score"] == str(tmp_path / "router.json")
    assert declared["log"] == str(tmp_path / "prompts.db")
    with pytest.raises(PolicyError, match="write log too"):
        parse_policy('[routers.auto]\ntiers = ["a", "b"]\nshadow = 0.1\n')


requests = st.builds(
    Request,
    text=st.text(max_size=20),
    tag=st.sampled_from([None, "/a", "/b"]),
    input_tokens=st.integers(0, 100),
    turns=st.integers(0, 5),
    tools=st.integers(0, 2),
    structured=st.booleans(),
    modalities=st.frozensets(st.sampled_from(["image", "pdf"])),
)
conditions = st.fixed_dictionaries(
    {"tier": st.sampled_from(["a", "b"])},
    optional={
        "endpoint": st.sampled_from(["/a", ["/a", "/b"]]),
        "min_input_tokens": st.integers(0, 100),
        "max_input_tokens": st.integers(0, 100),
        "min_turns": st.integers(0, 5),
        "tools": st.booleans(),
        "structured": st.booleans(),
        "modality": st.sampled_from(["image", "pdf"]),
    },
)


@given(requests, st.lists(conditions, min_size=1, max_size=4))
def test_the_first_rule_all_of_which_fits_names_the_tier(request: Request, rules: list[dict[str, Any]]) -> None:
    def fits(rule: dict[str, Any]) -> bool:
        endpoint = rule.get("endpoint", request.tag)
        return (
            (request.tag in endpoint if isinstance(endpoint, list) else request.tag == endpoint)
            and rule.get("min_input_tokens", 0) <= request.input_tokens <= rule.get("max_input_tokens", 1_000)
            and request.turns >= rule.get("min_turns", 0)
            and rule.get("tools", request.tools > 0) == (request.tools > 0)
            and rule.get("structured", request.structured) == request.structured
            and rule.get("modality", "image") in (request.modalities if "modality" in rule else {"image"})
        )

    score = router_options({"tiers": ["a", "b"], "rules": rules, "score": None})["score"](request)
    expected = next((rule["tier"] for rule in rules if fits(rule)), None)
    assert (None if score is None else score.tier) == expected
