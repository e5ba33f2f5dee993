"""The indexes that can run here, each as somebody opens it who shares its entries with another process.

Servers elsewhere are tested where their URL is given: ``COSTGUARD_TEST_REDIS8_URL``, ``COSTGUARD_TEST_PGVECTOR_URL``,
``COSTGUARD_TEST_QDRANT_URL``.
"""

import os
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import pytest
from chroma_server import chroma_running
from local_redis import LocalRedis

from costguard_core.cache.semantic.index.base import Index
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.index.sqlite import SqliteIndex
from costguard_core.cache.semantic.index.write_behind import WriteBehindIndex

# Read while tests are collected: no test sees the settings of the developer's shell.
ELSEWHERE = {name: os.environ.get(f"COSTGUARD_TEST_{name.upper()}_URL") for name in ("redis8", "pgvector", "qdrant")}
PATIENT = 30.0  # seconds, for a busy machine: how fast an index is, is not what is tested


@dataclass
class Backend:
    """``open`` gives the index as another process opens it, ``another`` a cache of another name."""

    open: Callable[[], Index]
    another: Callable[[], Index] | None = None


@pytest.fixture
def memory():
    index = MemoryIndex()
    return Backend(lambda: index)


@pytest.fixture
def background():
    index = MemoryIndex()
    return Backend(lambda: WriteBehindIndex(index))


@pytest.fixture
def sqlite(tmp_path):
    path = tmp_path / "answers.db"
    return Backend(lambda: SqliteIndex(path, name="mine"), lambda: SqliteIndex(path, name="other"))


@pytest.fixture
def chroma(tmp_path):
    return Backend(
        lambda: ChromaIndex(tmp_path / "chroma", name="mine"), lambda: ChromaIndex(tmp_path / "chroma", name="other")
    )


@pytest.fixture(scope="session")
def chroma_url(tmp_path_factory):
    with chroma_running(tmp_path_factory.mktemp("server")) as (url, _):
        yield url


@pytest.fixture
def chroma_server(chroma_url):
    name = uuid.uuid4().hex
    return Backend(
        lambda: ChromaIndex(url=chroma_url, name=name, timeout=PATIENT),
        lambda: ChromaIndex(url=chroma_url, name=f"{name}2", timeout=PATIENT),
    )


@pytest.fixture
def pgvector(request):
    from costguard_core.cache.semantic.index.pgvector import PgvectorIndex

    url = ELSEWHERE["pgvector"] or request.getfixturevalue("postgres_db")
    name = uuid.uuid4().hex
    return Backend(
        lambda: PgvectorIndex(url, name=name, timeout=PATIENT),
        lambda: PgvectorIndex(url, name=f"{name}2", timeout=PATIENT),
    )


@pytest.fixture(scope="session")
def redis8_url(tmp_path_factory):
    if ELSEWHERE["redis8"]:
        yield ELSEWHERE["redis8"]
        return
    with LocalRedis(tmp_path_factory.mktemp("redis8")) as server:
        if not server.command("COMMAND DOCS VADD").startswith(b"*2"):
            pytest.skip("this Redis is older than 8 and has no vector sets: name another with REDIS_SERVER")
        yield server.url


@pytest.fixture
def redis8(redis8_url):
    from costguard_core.cache.semantic.index.redis_vectors import RedisIndex

    name = uuid.uuid4().hex
    return Backend(
        lambda: RedisIndex(redis8_url, name=name, timeout=PATIENT),
        lambda: RedisIndex(redis8_url, name=f"{name}2", timeout=PATIENT),
    )


@pytest.fixture
def qdrant(tmp_path):
    pytest.importorskip("qdrant_client", reason="qdrant-client is not installed")
    from qdrant_client import QdrantClient

    from costguard_core.cache.semantic.index.qdrant import QdrantIndex

    name = uuid.uuid4().hex
    if url := ELSEWHERE["qdrant"]:
        yield Backend(
            lambda: QdrantIndex(url, name=name, timeout=PATIENT),
            lambda: QdrantIndex(url, name=f"{name}2", timeout=PATIENT),
        )
        return
    with closing(QdrantClient(path=str(tmp_path / "qdrant"), force_disable_check_same_thread=True)) as client:
        yield Backend(
            lambda: QdrantIndex(client=client, name=name, timeout=PATIENT),
            lambda: QdrantIndex(client=client, name=f"{name}2", timeout=PATIENT),
        )


BACKENDS = ("memory", "background", "sqlite", "chroma", "chroma_server", "pgvector", "redis8", "qdrant")
SLOW = ("chroma", "chroma_server", "pgvector")


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKENDS])
def backend(request):
    return request.getfixturevalue(request.param)
