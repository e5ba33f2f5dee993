"""What a router does with odd arguments, with hits on the way up, and whose bill a judge is on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_models import CENT_PRICES, chat_model, route
from langchain_openai import ChatOpenAI
from ledger_events import events

from costguard_core import CostGuard
from costguard_core.errors import ConfigurationError
from costguard_core.routing.checks.verify import has_final_number
from costguard_core.simulate import Simulator
from langchain_costguard import CostGuardCallbackHandler, ExactCache, GuardedChatModel, TieredRouter

CENT = 10_000_000  # nano-dollars
SECRET = "Bearer must-not-be-seen"


@pytest.fixture
def cheap(openai_server: Simulator) -> ChatOpenAI:
    return chat_model(openai_server, "one-cent", default_headers={"Authorization": SECRET})


@pytest.fixture
def strong(openai_server: Simulator) -> ChatOpenAI:
    return chat_model(openai_server, "ten-cent")


@pytest.fixture
def guard() -> Iterator[CostGuard]:
    with CostGuard(["$5/day"], prices=CENT_PRICES) as made:
        yield made


def easy(request: Any) -> float:
    return 0.0


async def slow(given: Any) -> bool:
    return False


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda one, two: TieredRouter((slow, one), two), id="condition"),
        pytest.param(lambda one, two: TieredRouter((RunnableLambda(slow), one), two), id="runnable"),
        pytest.param(lambda one, two: TieredRouter(cheap=one, strong=two, verify=slow), id="verify"),
        pytest.param(lambda one, two: TieredRouter(cheap=one, strong=two, score=slow), id="score"),
        pytest.param(lambda one, two: TieredRouter(cheap=one, strong=two, judge=slow), id="judge"),
    ],
)
def test_async_functions_are_refused_and_not_taken_for_a_yes(made: Any, cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    with pytest.raises(ConfigurationError, match="async"):
        made(cheap, strong)


def test_what_turns_out_to_be_async_is_no_yes_either(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    router = TieredRouter((lambda messages: slow(messages), cheap), strong)
    assert route(router.invoke("hi"))["tier"] == "ten-cent"
    checked = TieredRouter(cheap=cheap, strong=strong, score=easy, threshold=1.0, verify=lambda answer: slow(answer))
    assert "check failed" in route(checked.invoke("hi"))["reason"]


@pytest.mark.parametrize("said", ["hard", object(), [1.0]])
def test_a_score_that_is_no_number_costs_nobody_the_answer(said: Any, cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    router = TieredRouter(cheap=cheap, strong=strong, score=lambda request: said)
    assert "scorer failed" in route(router.invoke("hi"))["reason"]


def test_numbers_of_other_kinds_are_scores(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    numpy = pytest.importorskip("numpy")
    router = TieredRouter(cheap=cheap, strong=strong, score=lambda request: numpy.float32(0.5), threshold=0.4)
    assert route(router.invoke("hi"))["score"] == 0.5


def test_a_judge_that_says_no_number_costs_nobody_the_answer(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    router = TieredRouter(cheap=cheap, strong=strong, score=lambda request: len(request.text), judge=lambda r: "hard")
    reasons = [route(router.invoke("x" * (number % 7)))["reason"] for number in range(30)]
    assert any("judge failed: ValueError" in reason for reason in reasons)


@pytest.mark.parametrize(
    "options",
    [{"share": "0.3"}, {"share": float("nan")}, {"threshold": "x"}, {"threshold": float("nan")}, {"score": "no.json"}],
)
def test_wrong_numbers_and_files_say_so(options: dict[str, Any], cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    with pytest.raises(ConfigurationError):
        TieredRouter(cheap=cheap, strong=strong, **options)


@pytest.mark.parametrize("option", ["score", "verify", "default"])
def test_errors_do_not_print_a_model(option: str, cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    with pytest.raises(ConfigurationError, match="ChatOpenAI") as raised:
        TieredRouter(cheap=cheap, strong=strong, **{option: cheap})
    assert SECRET not in str(raised.value)


def test_a_cache_is_for_tiers_that_are_guarded_already_too(
    cheap: ChatOpenAI, strong: ChatOpenAI, guard: CostGuard
) -> None:
    own = GuardedChatModel(strong, guard, cache=False)
    tiers = {"cheap": GuardedChatModel(cheap, guard), "strong": own}
    router = TieredRouter(**tiers, guard=guard, cache=ExactCache("memory://"), score=easy, threshold=1.0)
    assert router.models["strong"] is own
    for _ in range(2):
        router.invoke("How?")
    assert [event.outcome.value for event in events(guard)] == ["miss", "exact"]


def cascade(cheap: ChatOpenAI, strong: ChatOpenAI, guard: CostGuard) -> TieredRouter:
    return TieredRouter(
        cheap=cheap,
        strong=strong,
        guard=guard,
        cache=ExactCache("memory://"),
        verify=has_final_number(),
        score=easy,
        threshold=1.0,
    )


CUT_OFF = {"finish_reason": "length"}  # such an answer is not cached


@pytest.mark.parametrize(
    ("weak", "good", "paid"),
    [
        pytest.param("No idea.", {"content": "The answer is 42.", **CUT_OFF}, 1 + 10 + 10 + 10, id="hit below"),
        pytest.param({"content": "No", **CUT_OFF}, "The answer is 42.", 1 + 10 + 1 + 1, id="hit above"),
        pytest.param("No idea.", "The answer is 42.", 1 + 10, id="hits"),
    ],
)
def test_the_ledger_adds_up_when_a_cache_answers_on_the_way_up(
    weak: Any, good: Any, paid: int, cheap: ChatOpenAI, strong: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    """All three questions were worth a strong call: what was saved is that, less what was paid."""
    openai_server.reply = lambda body: weak if body["model"] == "one-cent" else good
    router = cascade(cheap, strong, guard)
    for _ in range(3):
        assert "42" in router.invoke("How many?").text
    told = events(guard)
    assert sum(event.cost or 0 for event in told) == paid * CENT
    assert sum(event.saved for event in told) == (3 * 10 - paid) * CENT


def test_somebody_elses_database_is_not_made_a_prompt_log(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    from typer.testing import CliRunner

    from costguard_core.cli.router import app

    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
        connection.commit()
    before = path.read_bytes()
    found = CliRunner().invoke(app, ["rows", "--log", str(path)])
    assert isinstance(found.exception, ConfigurationError)
    assert "not a prompt log" in str(found.exception)
    assert path.read_bytes() == before


def billed_by_option(tiers: Any, guard: CostGuard, judge: ChatOpenAI) -> Any:
    return TieredRouter(**tiers, **JUDGED, judge=judge, guard=guard)


def billed_around(tiers: Any, guard: CostGuard, judge: ChatOpenAI) -> Any:
    return GuardedChatModel(TieredRouter(**tiers, **JUDGED, judge=judge), guard)


def billed_by_tiers(tiers: Any, guard: CostGuard, judge: ChatOpenAI) -> Any:
    guarded = {name: GuardedChatModel(model, guard) for name, model in tiers.items()}
    return TieredRouter(**guarded, **JUDGED, judge=judge)


def billed_by_handler(tiers: Any, guard: CostGuard, judge: ChatOpenAI) -> Any:
    router = TieredRouter(**tiers, **JUDGED, judge=judge)
    return router.with_config(callbacks=[CostGuardCallbackHandler(guard)])


JUDGED: dict[str, Any] = {"score": lambda request: len(request.text), "share": 0.5}


@pytest.mark.parametrize("made", [billed_by_option, billed_around, billed_by_tiers, billed_by_handler])
@pytest.mark.parametrize("method", ["invoke", "ainvoke"])
async def test_a_judge_is_on_the_bill_of_whoever_asks(
    method: str, made: Any, cheap: ChatOpenAI, strong: ChatOpenAI, openai_server: Simulator
) -> None:
    openai_server.reply = lambda body: "7"
    with CostGuard(["$5/day per user"], prices=CENT_PRICES) as guard:
        judge = chat_model(openai_server, "one-cent", temperature=0.25)
        router = made({"cheap": cheap, "strong": strong}, guard, judge)
        for number in range(24):
            config = {"metadata": {"user_id": "u1"}}
            text = "x" * (number % 6 + 1)
            _ = router.invoke(text, config) if method == "invoke" else await router.ainvoke(text, config)
        asked = [request.body.get("temperature") for request in openai_server.requests]
        assert asked.count(0.25) > 0
        told = events(guard)
        assert len(told) == len(asked)
        assert {event.attribution.user for event in told} == {"u1"}
        assert sum(event.route is None for event in told) == asked.count(0.25)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda one, two: {"cheap": one, "strong": two, "treshold": 0.3}, id="misspelt"),
        pytest.param(lambda one, two: {"cheap": one.bind(temperature=0), "mid": one, "strong": two}, id="bound"),
        pytest.param(lambda one, two: {"cheap": one, "strong": two.with_fallbacks([one])}, id="fallbacks"),
    ],
)
def test_what_is_neither_tier_nor_option_is_named(given: Any, cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    with pytest.raises(
        ConfigurationError, match='is neither an option of a router nor a chat model|Did you mean "threshold"'
    ):
        TieredRouter(**given(cheap, strong))


def test_a_router_does_not_show_how_its_tiers_sign_in(cheap: ChatOpenAI, strong: ChatOpenAI) -> None:
    told = repr(TieredRouter(cheap=cheap, strong=strong))
    assert SECRET not in told
    assert "one-cent" in told


@pytest.mark.parametrize(("weak", "saved"), [("No idea.", -0.01), ("The answer is 7.", 0.09)])
async def test_a_checked_stream_says_what_it_saved(
    weak: str, saved: float, cheap: ChatOpenAI, strong: ChatOpenAI, guard: CostGuard, openai_server: Simulator
) -> None:
    openai_server.reply = lambda body: weak if body["model"] == "one-cent" else "The answer is 42."
    router = cascade(cheap, strong, guard)
    first = next(iter(list(router.stream("How many?"))))
    assert float(route(first)["saved_usd"]) == pytest.approx(saved)
    chunks = [chunk async for chunk in router.astream("How many now?")]
    assert float(route(chunks[0])["saved_usd"]) == pytest.approx(saved)
