"""A server that is gone, too old or not set up is a miss, a warning that says what to do, and never an error."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from bag_of_words import bag_of_words
from ports import reserved_port
from waiting import wait_until

from costguard_core.cache import Answer, CacheKey
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.engine import SemanticEngine
from costguard_core.cache.semantic.index import pgvector, qdrant
from costguard_core.cache.semantic.index.base import Entry, IndexUnavailable
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.memory import MemoryIndex
from costguard_core.cache.semantic.index.opening import open_index
from costguard_core.cache.semantic.index.pgvector import PgvectorIndex
from costguard_core.cache.semantic.index.redis_vectors import RedisIndex
from costguard_core.cache.semantic.query import SemanticQuery
from costguard_core.errors import ConfigurationError, MissingExtraError

KINDS = {
    "chroma": "http://127.0.0.1:{port}",
    "redis": "redis://user:hidden@127.0.0.1:{port}/0",
    "pgvector": "postgresql://user:hidden@127.0.0.1:{port}/db",
    "qdrant": "qdrant://127.0.0.1:{port}?api_key=hidden",
}


def asked(question):
    return SemanticQuery(question, "scope", CacheKey(digest=digest("scope", question)))


def opened(url):
    return open_index("space", path=None, url=url, client=None, namespace="costguard", timeout=30)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there_is_a_miss_and_a_warning_without_secrets(kind, caplog):
    if kind == "qdrant":
        pytest.importorskip("qdrant_client")
    with reserved_port() as port, closing(opened(KINDS[kind].format(port=port))) as index:
        assert "hidden" not in index.url
        engine = SemanticEngine(index, decide="guarded", threshold=0.7)
        query, vector = asked("where is it"), bag_of_words("where is it")
        assert engine.lookup(query, vector) is None
        assert await engine.alookup(query, vector) is None
        assert engine.save(query, vector, Answer(payload=["Here."], choices=1), "Here.") == "the index failed"
        with pytest.raises(IndexUnavailable):
            index.invalidate(["user=u1"])
        assert engine.stats().errors >= 3
    assert "the call is paid" in caplog.text
    assert "hidden" not in caplog.text


def test_a_redis_without_vector_sets_says_which_is_needed(redis_url, caplog, _shared_redis):
    if _shared_redis.command("COMMAND DOCS VADD").startswith(b"*2"):
        pytest.skip("this Redis has vector sets")
    with closing(RedisIndex(redis_url, timeout=30)) as index:
        engine = SemanticEngine(index)
        assert engine.lookup(asked("where is it"), bag_of_words("where is it")) is None
        assert "since version 8" in caplog.text
        with pytest.raises(ConfigurationError, match="since version 8"):
            index.put("scope", Entry("1", "q", "{}", "t", "g", 0.0), [1.0])


@pytest.mark.slow
def test_a_postgres_user_who_may_not_make_the_extension_is_told_the_statement(postgres_db):
    import psycopg

    with psycopg.connect(postgres_db, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS costguard_nobody")
        connection.execute("CREATE ROLE costguard_nobody LOGIN")
    url = psycopg.conninfo.make_conninfo(postgres_db, user="costguard_nobody")
    with closing(PgvectorIndex(url, timeout=30)) as index, pytest.raises(ConfigurationError, match="CREATE EXTENSION"):
        index.scopes()


@pytest.mark.slow
def test_a_table_that_takes_long_to_write_anew_is_waited_for(postgres_db, monkeypatch):
    import psycopg

    monkeypatch.setattr(pgvector, "_MAX_ANSWER_SECONDS", 1)
    with closing(PgvectorIndex(postgres_db, timeout=30)) as index:
        index.put("scope", Entry("1", "q", "{}", "t", "g", 0.0, tags=("user=u1",)), [1.0])
        with psycopg.connect(postgres_db) as reader, psycopg.connect(postgres_db, autocommit=True) as watching:
            reader.execute("SELECT count(*) FROM costguard_semantic")  # holds a lock until its transaction ends
            with ThreadPoolExecutor(1) as thread:
                removed = thread.submit(index.invalidate, ["user=u1"], scrub=True)
                long = (
                    "SELECT 1 FROM pg_stat_activity "
                    "WHERE query LIKE 'VACUUM%' AND now() - query_start > interval '1.5 seconds'"
                )
                wait_until(lambda: removed.done() or watching.execute(long).fetchone() is not None)
                reader.rollback()
                assert removed.result(60) == 1
        assert index.count("scope") == 0


@pytest.mark.slow
def test_a_forked_child_has_connections_of_its_own(postgres_db):
    with closing(PgvectorIndex(postgres_db, timeout=30)) as index:
        index.put("scope", Entry("1", "q", "{}", "t", "g", 0.0), [1.0])
        fork = multiprocessing.get_context("fork")
        said = fork.SimpleQueue()
        process = fork.Process(target=lambda: said.put(len(index.search("scope", [1.0], 5))))
        process.start()
        assert said.get() == 1
        process.join(60)
        assert len(index.search("scope", [1.0], 5)) == 1


def test_which_index_a_url_means():
    assert isinstance(open_index("s", path=None, url=None, client=None, namespace="n", timeout=1), MemoryIndex)
    for url, kind in (
        ("http://127.0.0.1:1", ChromaIndex),
        ("redis://127.0.0.1:1/0", RedisIndex),
        ("redis+sentinel://127.0.0.1:1/main", RedisIndex),
        ("postgresql://127.0.0.1:1/db", PgvectorIndex),
    ):
        with closing(opened(url)) as index:
            assert isinstance(index, kind)
    with pytest.raises(ConfigurationError, match=r"qdrant://host:6333"):
        opened("mongodb://user:hidden@host/db")
    with pytest.raises(ConfigurationError, match="one of"):
        open_index("s", path="folder", url="redis://host", client=None, namespace="n", timeout=1)


@pytest.mark.parametrize(
    "url", ["http://host:abc", "https://host:99999", "postgresql://u:hidden@[host/db", "http://u:hidden/x@host"]
)
def test_a_url_that_cannot_be_read_is_an_error_that_shows_no_password(url):
    with pytest.raises(ConfigurationError, match="cannot be read") as raised:
        opened(url)
    assert "hidden" not in str(raised.value)


def test_addresses_of_qdrant():
    assert qdrant._address("qdrant://host?api_key=k") == {"url": "http://host:6333", "api_key": "k"}
    assert qdrant._address("qdrant+https://[::1]:1")["url"] == "https://[::1]:1"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        qdrant._address("qdrant://host:abc")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "qdrant_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'langchain-costguard\[qdrant\]'"):
        opened("qdrant://host:6333")
