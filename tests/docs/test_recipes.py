"""Each recipe of docs/recipes.md runs as it stands, and does what its title says."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from documents import Block, read_blocks
from local_memcached import LocalMemcached, memcached_url
from ports import reserved_port
from python_process import start_python

from costguard_core import Call, Usage
from costguard_core.ledger import open_ledger
from costguard_core.simulate import Simulator
from langchain_costguard import SpendLimitExceeded, attribute

pytest_plugins = ["pytester"]

RECIPES: dict[str, list[Block]] = {}
for block in read_blocks("docs/recipes.md"):
    RECIPES.setdefault(block.section, []).append(block)

TESTED: set[str] = set()


def recipe(title: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Marks the test of one recipe, which is given its blocks in Python."""
    TESTED.add(title)
    blocks = [block for block in RECIPES[title] if block.language == "python"]
    return pytest.mark.parametrize("blocks", [pytest.param(blocks, id=title.replace(" ", "_"))])


def run(block: Block) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "recipe"}
    block.run(names)
    return names


def spend(guard: Any, usage: Usage, **who: str) -> None:
    """One call of the user that used that much of gpt-4o-mini."""
    with attribute(**who):
        call = Call(guard.new_id(), "gpt-4o-mini", guard.clock(), provider="openai", max_output_tokens=10)
        guard.after(guard.before(call), usage)


@recipe("$5 a day per user")
def test_five_dollars_a_day(blocks: list[Block], capsys: pytest.CaptureFixture[str], openai_server: Simulator) -> None:
    for block in blocks:
        names = run(block)
        model = names.get("model") or names["llm"]
        ask = getattr(model, "invoke", None) or model.complete
        spend(names["guard"], Usage(33_000_000, 10), user="u1")  # 4.95 dollars
        spend(names["guard"], Usage(400_000, 10), user="u1")
        with attribute(user="u1"), pytest.raises(SpendLimitExceeded):
            ask("How do I reset my password?")
        with attribute(user="u2"):
            ask("How do I reset my password?")
        names["guard"].close()
        Path("costguard.db").unlink()
    assert "$5/day per user  user=u1" in capsys.readouterr().out
    assert openai_server.count == 2 * len(blocks)


@pytest.mark.slow
@recipe("Budgets shared by four workers")
def test_shared_by_workers(
    blocks: list[Block], openai_server: Simulator, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    program = blocks[0].text.replace('"1000 requests/hour"', '"10 requests/hour"') + (
        "from langchain_costguard import SpendLimitExceeded\n"
        "for number in range(5):\n"
        "    try: model.invoke(f'Question {number}')\n"
        "    except SpendLimitExceeded: pass\n"
        "guard.close()\n"
    )
    workers = []
    for store in ("sqlite:///costguard.db", redis_url):
        monkeypatch.setenv("COSTGUARD_STORE", store)
        workers += [start_python(program) for _ in range(4)]
    for worker in workers:
        _, error = worker.communicate()
        assert worker.returncode == 0, error
    assert openai_server.count == 2 * 10


@recipe("Plans for customers")
def test_plans(blocks: list[Block]) -> None:
    guard = run(blocks[0])["guard"]
    spend(guard, Usage(3_000_000, 10), user="u2", plan="free")  # 45 cents
    spend(guard, Usage(400_000, 10), user="u2", plan="free")
    with pytest.raises(SpendLimitExceeded):
        spend(guard, Usage(1, 1), user="u2", plan="free")
    spend(guard, Usage(3_600_000, 10), user="u1", plan="free")  # who was granted more
    spend(guard, Usage(3_600_000, 10), user="u1", plan="free")
    spend(guard, Usage(1, 1), user="u2", plan="pro")
    assert guard.report(by="plan")["free",].paid == 5


@recipe("Subagents under one budget")
def test_subagents(blocks: list[Block], openai_server: Simulator) -> None:
    guard = run(blocks[0])["guard"]
    assert openai_server.count == 3  # the agent asks, its researcher asks, the agent concludes
    report = guard.report(by="session")
    assert [(row.key, row.totals.paid) for row in report.rows] == [(("run-1",), 3)]


@recipe("Cap everything in an emergency")
def test_emergency(blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    guard = run(blocks[0])["guard"]
    assert "viral post" in capsys.readouterr().out
    spend(guard, Usage(1, 1), user="u1")
    assert [change.action for change in guard.ledger.changes()] == ["emergency", "end emergency", "trip", "reset"]


@recipe("A refusal becomes a 429")
async def test_fastapi_flask_and_django(blocks: list[Block]) -> None:
    guard = _spent_guard()
    fastapi, flask, django = (run(block) for block in blocks)

    @fastapi["app"].get("/ask")
    async def ask() -> None:
        spend(guard, Usage(1, 1), user="u1")

    @flask["app"].get("/ask")
    def ask_flask() -> str:
        spend(guard, Usage(1, 1), user="u1")
        return ""

    answers = [
        await _get(fastapi["app"]),
        _get_flask(flask["app"]),
        _get_django(django["RefusalMiddleware"], guard),
    ]
    for status, wait, text in answers:
        assert status == 429
        assert 0 < int(wait) <= 86_400
        assert "The usage limit has been reached" in text
        assert "$" not in text


def _spent_guard() -> Any:
    from langchain_costguard import CostGuard

    guard = CostGuard(budgets=["$0.01/day per user"])
    spend(guard, Usage(70_000, 10), user="u1")
    return guard


async def _get(app: Any) -> tuple[int, str, str]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.get("/ask")
    return answer.status_code, answer.headers["retry-after"], answer.text


def _get_flask(app: Any) -> tuple[int, str, str]:
    answer = app.test_client().get("/ask")
    return answer.status_code, answer.headers["Retry-After"], answer.text


def _get_django(middleware: Any, guard: Any) -> tuple[int, str, str]:
    import django
    from django.conf import settings
    from django.test import Client
    from django.urls import path

    urls: Any = ModuleType("recipe_urls")
    urls.RefusalMiddleware = middleware
    urls.urlpatterns = [path("ask", lambda request: spend(guard, Usage(1, 1), user="u1"))]
    sys.modules["recipe_urls"] = urls
    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF="recipe_urls", MIDDLEWARE=["recipe_urls.RefusalMiddleware"], USE_TZ=True
    )
    django.setup()
    answer = Client().get("/ask")
    return answer.status_code, answer.headers["Retry-After"], answer.content.decode()


@recipe("Attribution in middleware")
async def test_attribution_in_middleware(blocks: list[Block]) -> None:
    names = run(blocks[0])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(names["app"]), base_url="http://test") as client:
        asked = [
            client.get("/ask", params={"question": f"Hello from {user}"}, headers={"x-user": user})
            for user in ("u1", "u2", "u2")
        ]
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    report = names["guard"].report(by=["user", "endpoint"])
    assert {row.key: row.totals.calls for row in report.rows} == {("u1", "/ask"): 1, ("u2", "/ask"): 2}


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The messages that a chat service was sent."""
    messages: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("SLACK_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/services/T0/B0/secret")
    yield messages
    server.shutdown()
    thread.join()
    server.server_close()


@recipe("Slack at 80 %")
def test_slack(blocks: list[Block], channel: list[dict[str, Any]]) -> None:
    names = run(blocks[0])
    for _ in range(3):
        spend(names["guard"], Usage(270_000_000, 10))  # 40.5 dollars
    names["slack"].flush()
    assert len(channel) == 2
    assert ["80" in channel[0]["text"], "100" in channel[1]["text"]] == [True, True]
    names["guard"].close()


@recipe("Yesterday's cost per endpoint")
def test_yesterday(blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    from langchain_costguard import CostGuard

    yesterday = CostGuard(ledger="sqlite:///costguard.db", clock=lambda: _noon_of_yesterday("Europe/Vienna"))
    spend(yesterday, Usage(1_000_000, 10), endpoint="/faq")
    yesterday.close()
    run(blocks[0])
    assert "/faq" in capsys.readouterr().out
    assert Path("yesterday.csv").read_text().splitlines()[1].startswith("/faq,1,")


def _noon_of_yesterday(zone: str) -> float:
    return (datetime.now(ZoneInfo(zone)).replace(hour=12) - timedelta(days=1)).timestamp()


@recipe("Cost per active user and per sale")
def test_unit_economics(blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    guard = run(blocks[0])["guard"]
    sale = guard.unit_economics("sale", since="30d")
    assert (sale.outcomes, sale.unattributed, sale.attributed > 0) == (1, 0, True)
    assert "within 7 days." in capsys.readouterr().out


@recipe("What caused yesterday's spike")
def test_spike(blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    from langchain_costguard import CostGuard

    guard = CostGuard(ledger="sqlite:///costguard.db", clock=lambda: _noon_of_yesterday("UTC"))
    spend(guard, Usage(1_000, 10), endpoint="/faq")
    for _ in range(3):
        spend(guard, Usage(1_000_000, 10), endpoint="/summarise")
    guard.close()
    run(blocks[0])
    out = capsys.readouterr().out
    assert "volume" in out
    assert "/summarise" in out


@recipe("Grafana")
def test_grafana(blocks: list[Block], monkeypatch: pytest.MonkeyPatch) -> None:
    import prometheus_client

    served = []

    def on_a_free_port(port: int) -> None:
        served.append(prometheus_client.exposition.start_http_server(0, addr="127.0.0.1"))

    monkeypatch.setattr(prometheus_client, "start_http_server", on_a_free_port)
    names = run(blocks[0])
    [(server, thread)] = served
    spend(names["guard"], Usage(1_000, 10), endpoint="/faq")
    text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text
    server.shutdown()
    thread.join()
    server.server_close()
    assert 'endpoint="/faq"' in text


@recipe("Datadog")
def test_datadog(blocks: list[Block]) -> None:
    """In a process of its own, because OpenTelemetry's provider is set once in one; the agent is an OTLP receiver."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    bodies: list[bytes] = []

    class Agent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/metrics"
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    program = blocks[0].text + (
        "from costguard_core import Call, Usage, attribute\n"
        "with attribute(endpoint='/faq'):\n"
        "    call = Call('c1', 'gpt-4o-mini', guard.clock(), provider='openai', max_output_tokens=10)\n"
        "    guard.after(guard.before(call), Usage(1000, 10))\n"
        "guard.close()\n"
        "metrics.get_meter_provider().shutdown()\n"
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as agent:
        serving = threading.Thread(target=agent.serve_forever)
        serving.start()
        try:
            settings = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{agent.server_port}",
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta",
            }
            worker = start_python(program, env={**os.environ, **settings})
            _, error = worker.communicate()
        finally:
            agent.shutdown()
            serving.join()
    assert worker.returncode == 0, error
    sent = [ExportMetricsServiceRequest.FromString(body).resource_metrics[0] for body in bodies]
    assert {pair.key: pair.value.string_value for pair in sent[0].resource.attributes}["service.name"] == "shop"
    found = {metric.name: metric for one in sent for scope in one.scope_metrics for metric in scope.metrics}
    cost = found["costguard.cost.usd"].sum
    assert cost.aggregation_temporality == 1  # delta
    assert cost.data_points[0].as_double == pytest.approx(0.000156)
    assert {pair.key: pair.value.string_value for pair in cost.data_points[0].attributes}[
        "costguard.endpoint"
    ] == "/faq"


@recipe("Personal answers out of the cache")
def test_personal(blocks: list[Block], openai_server: Simulator) -> None:
    cache = run(blocks[0])["cache"]
    assert (cache.stats().hits, openai_server.count) == (2, 4)  # each user's second question about orders


@recipe("Invalidate after a document changed")
def test_invalidate(blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    names = run(blocks[0])
    assert capsys.readouterr().out == "1\n"
    assert names["cache"].invalidate(document="returns.md") == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the recipe's client is curl")
@recipe("An application in another language")
def test_proxy(blocks: list[Block], openai_server: Simulator) -> None:
    """The recipe's curl command against the recipe's policy file."""
    policy, console = RECIPES["An application in another language"]
    upstream = f'[[proxy.upstreams]]\nurl = "{openai_server.base_url.removesuffix("/v1")}"\nprovider = "openai"\n'
    Path("costguard.toml").write_text(policy.text + upstream)
    with reserved_port() as port:
        program = "import sys; from costguard_core.cli.main import app; app(sys.argv[1:])"
        proxy = start_python(program, "proxy", "--config", "costguard.toml", "--port", port)
        assert proxy.stdout is not None
        assert f":{port}" in proxy.stdout.readline()
        command = console.text.partition("\n$ ")[2].replace(":4000/", f":{port}/")
        asked = command.replace("curl ", "curl --silent --show-error --retry 5 --retry-connrefused ", 1)
        done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
        proxy.terminate()
        _, log = proxy.communicate()
    assert json.loads(done.stdout)["choices"][0]["message"]["content"], (done.stderr, log)
    assert openai_server.count == 1
    with open_ledger("sqlite:///costguard.db", read_only=True) as ledger:
        assert [event.attribution.user for event in ledger.events()] == ["u1"]


@recipe("A cost test in CI")
def test_cost_test(blocks: list[Block], pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_cost=blocks[0].text)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


@recipe("Memcached, Pinecone, Weaviate")
def test_memcached(
    blocks: list[Block],
    openai_server: Simulator,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    memcached_servers: tuple[LocalMemcached, LocalMemcached],
) -> None:
    here = memcached_url(*memcached_servers).removeprefix("memcached://")
    run(blocks[0]._replace(text=blocks[0].text.replace("localhost:11211", here)))
    assert openai_server.count == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "None"
    assert ["exact" in line or "semantic" in line for line in printed] == [False, True, True]
    assert "'cache': 'exact'" in printed[1]
    assert "'cache': 'semantic'" in printed[2]


@recipe("Move from LangChain's caches")
def test_from_langchain(blocks: list[Block], openai_server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    run(blocks[0])
    assert openai_server.count == 1
    assert capsys.readouterr().out.startswith("None\n{'cache': 'exact', 'saved_usd':")


@recipe("Move from LiteLLM's budgets")
def test_from_litellm(blocks: list[Block], openai_server: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    run(blocks[0])
    assert openai_server.count == 2
    assert "2 requests/minute per user" in capsys.readouterr().out


def test_every_recipe_is_run() -> None:
    assert TESTED == RECIPES.keys()
