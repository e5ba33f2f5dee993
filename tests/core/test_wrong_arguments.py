"""A wrong argument is an error of one line that names it and what to write instead; none passes silently."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel
from llama_index.core.llms import MockLLM

import costguard_core
import langchain_costguard
import llamaindex_costguard
from costguard_core import Breaker, Budget, ConfigurationError, CostGuard, Outcome, Usage, attribute
from costguard_core import attribution as attribution_module
from costguard_core.attribution import current_attribution
from costguard_core.cache.control import cache_control
from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.cache.policy import CachePolicy
from costguard_core.cache.semantic.embeddings import open_local
from costguard_core.exporters import LoggingHook, WebhookHook
from costguard_core.proxy.settings import proxy_settings
from costguard_core.routing.tiers import check_tier_name
from costguard_core.types import Call
from costguard_core.util.amounts import nanos_of
from costguard_core.util.json_client import JsonClient

wrong: Any = object()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: CostGuard(budgets=[5]), "budgets= is a list of texts such as"),  # type: ignore[list-item]
        (lambda: CostGuard(budgets=5), "budgets= is a list such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(budgets={"$5/day": 1}), "budgets= is a list such as"),
        (lambda: CostGuard(discount={"opnai": "0.1"}), "did you mean 'openai'?"),
        (lambda: CostGuard(discount={"antropic": "0.1"}), "did you mean 'anthropic'?"),
        (lambda: CostGuard(discount=0.1), "discount= is a mapping such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(store=5), "store= is a URL such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(ledger=None), "ledger= is a URL such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(ledger="postgresql://me:pw@[h/d"), "postgresql:// URL cannot be read: Invalid IPv6"),
        (lambda: WebhookHook("https://[h/x"), "https:// URL cannot be read: Invalid IPv6"),
        (lambda: JsonClient("https://[h/x", headers={}), "https:// URL cannot be read: Invalid IPv6"),
        (lambda: proxy_settings({"upstreams": [{"url": "https://[h/x"}]}, {}), "https:// URL cannot be read"),
        (lambda: CostGuard(breaker=5), 'breaker= is a rate such as "$2/minute"'),  # type: ignore[arg-type]
        (lambda: CostGuard(assume=100), "assume= is Assumptions"),  # type: ignore[arg-type]
        (lambda: Budget.parse("$5/day", alerts=(80,)), "above 0 and up to 1"),
        (lambda: CachePolicy(scope=("usr",)), 'Did you mean "user"?'),
        (lambda: CachePolicy(ttl_by={"endpont=/news": 60}), 'Did you mean "endpoint"?'),
        (lambda: CachePolicy(ttl_by={"/news": 60}), "by tag and value"),
        (lambda: CachePolicy(never_cache=(5,)), "functions of a Request"),  # type: ignore[arg-type]
        (lambda: CachePolicy(by_endpoint={"/news": wrong}), "by_endpoint= is by endpoint, such as"),
        (lambda: CachePolicy.of(wrong, None), "policy= is a CachePolicy"),
        (lambda: CostGuard(budgets=["$5,50/day"]), "write '5.50'"),
        (lambda: CostGuard(budgets=["$1,00/day"]), "write '1.00'"),
        (lambda: Budget("5,50"), "is a number, not '5,50'"),
        (lambda: CostGuard(budgets=["$5/day pr user"]), 'Did you mean "per"?'),
        (lambda: CostGuard(budgets=["$5/day were plan=free"]), 'Did you mean "where"?'),
        (lambda: CostGuard(budgets=["$5/day where mdoel=gpt-4o"]), 'Did you mean "model"?'),
        (lambda: CostGuard(budgets=["€5/day"]), "in US dollars"),
        (lambda: CostGuard(discount={"openai": "10%"}), '"0.10" takes 10 % off'),
        (lambda: CostGuard(prices=["gpt-4o"]), "prices= is a price file, or such as"),  # type: ignore[arg-type]
        (lambda: CostGuard(prices={"gpt-4o": "5"}), "dollars per million tokens, such as"),  # type: ignore[dict-item]
        (lambda: CostGuard(hooks="logging"), "hooks= is a list such as [LoggingHook()]"),  # type: ignore[arg-type]
        (lambda: CostGuard(hooks=["x"]), "'x' cannot be called"),  # type: ignore[list-item]
        (lambda: CostGuard(hooks=[LoggingHook]), "write LoggingHook(…)"),  # type: ignore[list-item]
        (lambda: LoggingHook("INFOO"), "logger= is such as logging.getLogger"),  # type: ignore[arg-type]
        (lambda: LoggingHook(level="INFO"), "level='INFO' is not a whole number"),  # type: ignore[arg-type]
        (lambda: CostGuard(ledgr="x"), 'CostGuard has no option ledgr=. Did you mean "ledger"?'),  # type: ignore[call-arg]
        (lambda: CostGuard(on_store_error="open"), "It has: budgets, store,"),  # type: ignore[call-arg]
        (lambda: CostGuard(store="redis//localhost"), 'Did you mean "redis://"?'),
        (lambda: CostGuard(ledger="postgre://h/d"), 'Did you mean "postgresql"?'),
        (lambda: Budget.parse("$5/day", on_exeed="wait"), 'Did you mean "on_exceed"?'),
        (lambda: Budget.parse("$5/day", answer=5), "answer= is a text, or a function"),
        (lambda: CostGuard().report(where="endpoint=/x"), "where= is a mapping such as"),  # type: ignore[arg-type]
        (lambda: CostGuard().record_outcome("sale", value="49,00"), "value='49,00' is no amount"),
        (lambda: BaseExactCache(tll=5), 'has no option tll=. Did you mean "ttl"?'),  # type: ignore[call-arg]
        (lambda: BaseExactCache("memroy://"), 'Did you mean "memory"?'),
        (lambda: open_local("wordlama"), 'Did you mean "wordllama"?'),
        (lambda: check_tier_name("cheep"), 'Did you mean "cheap"?'),
        (lambda: cache_control(ttl="1h").__enter__(), "ttl='1h' is not a number"),  # type: ignore[arg-type]
        (lambda: cache_control(no_cache="no").__enter__(), "no_cache='no' is neither"),  # type: ignore[arg-type]
        (lambda: Breaker(5), "rate= is a rate such as"),  # type: ignore[arg-type]
        (lambda: Breaker("$2/minute", answer=5), "answer= is a text"),  # type: ignore[arg-type]
        (lambda: Budget("5", name=5), "name= is a text such as"),  # type: ignore[arg-type]
        (lambda: Budget("5", timezone=["UTC"]), "timezone= is a text such as"),  # type: ignore[arg-type]
        (lambda: CachePolicy(scope=None), "scope= is names such as"),  # type: ignore[arg-type]
        (lambda: CachePolicy(never_cache=5), "never_cache= is functions of a Request"),  # type: ignore[arg-type]
        (lambda: CachePolicy(ttl_by=[60]), "ttl_by= is by tag and value"),  # type: ignore[arg-type]
        (lambda: CachePolicy(by_endpoint=[60]), "by_endpoint= is by endpoint"),  # type: ignore[arg-type]
        (lambda: CostGuard(tags=5), "tags= is names such as"),  # type: ignore[arg-type]
        (lambda: CostGuard().explain(timezone=5), "timezone= is a text such as"),  # type: ignore[arg-type]
        (lambda: CostGuard().forecast(timezone=[]), "timezone= is a text such as"),  # type: ignore[arg-type]
        (lambda: BaseExactCache(5), "url= is a URL such as"),  # type: ignore[arg-type]
        (lambda: BaseExactCache(namespace=""), "namespace= is a text such as"),
        (lambda: BaseExactCache(guard=5), "guard= is a CostGuard, not a int"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.SemanticCache(5), "of the class Embeddings, not a int"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.SemanticCache("wordllama", path=""), "path= is a text such as"),
        (lambda: langchain_costguard.SemanticCache("wordllama", index=wrong), "index= is an index"),
        (lambda: langchain_costguard.SemanticCache("wordllama", compare=wrong), "compare= is a function"),
        (lambda: langchain_costguard.PromptEconomy(clean="yes"), "clean='yes' is neither"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.PromptEconomy(on_step=5), "on_step= is a function"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.PromptLog(5), "path= is a file such as"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.WebhookHook(5), "url= is a text such as"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.WebhookHook("http://x.example", shape=[]), 'shape= is "slack" or "teams"'),  # type: ignore[arg-type]
        (lambda: CostGuard().record_outcome(5), "name= is a text"),  # type: ignore[arg-type]
        (lambda: CostGuard().record_outcome("sale", user=5), "user= is a text"),  # type: ignore[arg-type]
        (lambda: CostGuard(new_id=5), "new_id= is a function"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.judged(5), "model= is a chat model"),  # type: ignore[arg-type]
        (lambda: llamaindex_costguard.judged(5), "takes a LlamaIndex LLM"),  # type: ignore[arg-type]
        (lambda: langchain_costguard.PrometheusHook(wrong), "registry= is a CollectorRegistry"),
        (lambda: langchain_costguard.OpenTelemetryHook(wrong), "meter_provider= is a MeterProvider"),
        (lambda: llamaindex_costguard.TieredRouter(a=MockLLM(), b=MockLLM(), guard=wrong), "guard= is a CostGuard"),
        (lambda: llamaindex_costguard.TieredRouter(a=MockLLM(), b=MockLLM(), log=wrong), "log= is a PromptLog"),
        (lambda: attribute(user=["u1"]).__enter__(), "user= is one text or number, not a list"),  # type: ignore[arg-type]
    ],
)
def test_it_says_what_to_write(made: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        made()
    assert said in str(raised.value)


# What is made for each call is no place where users write options, and checks there would cost every call time. An
# attribute may have any name; a router and a guarded model take any option that a chat model may have.
_MADE_FOR_CALLS = {"Alert", "Attribution", "Call", "Charge", "Event", "Permit", "Usage", "usd"}
_ANY_NAME = {"attribute", "GuardedChatModel", "TieredRouter"}
_PACKAGES = (costguard_core, langchain_costguard, llamaindex_costguard)
_METHODS = ("agent", "emergency", "end_emergency", "explain", "forecast", "grant", "reconcile", "record_outcome")
_MORE_METHODS = ("report", "resume", "revoke", "status", "trip", "unit_economics", "warm_up")


def takes_options() -> Iterator[tuple[str, Callable[..., object]]]:
    for package in _PACKAGES:
        for name in sorted({*package.__all__} - _MADE_FOR_CALLS - _ANY_NAME):
            made = getattr(package, name)
            is_error = isinstance(made, type) and issubclass(made, Exception)
            if callable(made) and not is_error and name not in ("Outcome", "astart_stream", "start_stream"):
                yield f"{package.__name__}.{name}", made
    guard = CostGuard()
    for name in (*_METHODS, *_MORE_METHODS):
        yield f"CostGuard.{name}", getattr(guard, name)


@pytest.mark.parametrize(
    ("name", "made"), list(takes_options()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_misspelt_option_is_named_with_the_one_that_was_meant(name: str, made: Callable[..., Any]) -> None:
    fields = getattr(made, "model_fields", None) or inspect.signature(made).parameters
    for option in (option for option in fields if len(option) > 3):
        misspelt = option[:1] + option[2] + option[1] + option[3:] if option[1] != option[2] else option + "s"
        with pytest.raises(ConfigurationError) as raised:
            made(**{misspelt: None})
        assert f'has no option {misspelt}=. Did you mean "{option}"?' in str(raised.value)


def test_a_misspelt_option_of_a_guarded_model_or_a_router_is_named() -> None:
    cheap, strong = FakeListChatModel(responses=["a"]), FakeListChatModel(responses=["b"])
    for option, misspelt in {"tags": "tgas", "metadata": "metdata", "callbacks": "calbacks", "name": "nmae"}.items():
        with pytest.raises(ConfigurationError, match=f'no option {misspelt}=. Did you mean "{option}"'):
            langchain_costguard.GuardedChatModel(cheap, CostGuard(), **{misspelt: None})
        with pytest.raises(ConfigurationError, match=f'no option {misspelt}=. Did you mean "{option}"'):
            langchain_costguard.TieredRouter(cheap=cheap, strong=strong, **{misspelt: None})
    with pytest.raises(ConfigurationError, match='no option shaer=. Did you mean "share"'):
        llamaindex_costguard.TieredRouter(cheap=MockLLM(), strong=MockLLM(), shaer=0.3)  # type: ignore[call-arg]
    langchain_costguard.GuardedChatModel(cheap, CostGuard(), temperature=0.0, stop=["x"], timeout=3, streaming=True)


def test_a_filter_comes_back_from_what_it_is_written_as() -> None:
    made = llamaindex_costguard.SentenceFilter(keep=0.3)
    assert llamaindex_costguard.SentenceFilter.from_dict(made.to_dict()).keep == 0.3


@pytest.mark.parametrize(
    ("text", "limit"), [("$1,250/day", "1250"), ("$1,234,567.50/day", "1234567.50"), ("$5.50/day", "5.50")]
)
def test_a_comma_between_thousands_is_none_of_the_amount(text: str, limit: str) -> None:
    assert Budget.parse(text).limit == Decimal(limit)
    assert nanos_of("value", text.removesuffix("/day")) == Decimal(limit).scaleb(9)


@pytest.mark.parametrize(
    "name", ["cheap", "strong", "cheaper", "stronger", "strongest", "middle", "mini", "string_theory"]
)
def test_other_names_of_tiers_are_good(name: str) -> None:
    check_tier_name(name)


@pytest.mark.parametrize("name", ["mode", "plan", "team", "planet", "models_used"])
def test_other_names_of_tags_are_good(name: str) -> None:
    assert Budget.parse(f"$5/day where {name}=x").conditions == ((name, "x"),)


def test_one_is_as_good_as_a_list_of_one() -> None:
    told: list[object] = []
    guard = CostGuard("$5/day", breaker=Breaker("$2/minute"), hooks=told.append)  # type: ignore[arg-type]
    guard.after(guard.before(Call("c1", "gpt-4o-mini", guard.clock(), "openai")), Usage(1, 1))
    assert [getattr(item, "outcome", None) for item in told] == [Outcome.MISS]
    assert CachePolicy(scope="user").scope == ("user",)  # type: ignore[arg-type]
    assert len(CachePolicy(never_cache=callable).never_cache) == 1  # type: ignore[arg-type]


@pytest.fixture
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(attribution_module, "_seen_names", set())
    yield


@pytest.mark.usefixtures("nothing_seen")
def test_a_misspelt_name_in_metadata_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            current_attribution({"userid": "u1", "ls_provider": "openai", "langgraph_step": 3, "team": "search"})
        current_attribution({"tenantId": "t1"}, tags={"tenantId"})  # somebody's own tag
    assert [record.getMessage() for record in caplog.records] == [
        "metadata 'userid' is not read: did you mean 'user_id'? tags=(…) of CostGuard declares tags"
    ]


@pytest.mark.usefixtures("nothing_seen")
@pytest.mark.parametrize("name", [1, None, ("user", "id"), "userid" * 10_000, "\ud800", ""])
def test_no_name_in_metadata_costs_anybody_the_call(name: Any) -> None:
    assert current_attribution({name: "x", "user_id": "u1"}).user == "u1"


@pytest.mark.usefixtures("nothing_seen")
def test_names_that_are_made_up_at_run_time_are_not_remembered_for_ever() -> None:
    for number in range(3_000):
        current_attribution({f"field-{number}": "x"})
    assert len(attribution_module._seen_names) <= 1_001
