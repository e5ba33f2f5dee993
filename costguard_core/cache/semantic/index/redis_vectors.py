"""Redis 8 as the index: one vector set per scope (https://redis.io/docs/latest/develop/data-types/vector-sets/).

What is said of the entries is in a hash beside it. All keys of a cache share one hash tag, and so one shard of a
cluster.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from costguard_core.cache.semantic.index.base import Entry, Found
from costguard_core.cache.semantic.index.shared import PAGE, SharedIndex, readable
from costguard_core.errors import ConfigurationError
from costguard_core.util.redis_address import RedisUrl, Target, moved_to, wrong_server
from costguard_core.util.redis_clients import open_client, require_redis
from costguard_core.util.urls import printable

T = TypeVar("T")

_EFFORT = 200  # candidates of a search, as for Chroma: with 100, one nearest neighbour in a hundred is missed
_MAX_ANSWER_SECONDS = 10.0  # a server that hangs must not hold a thread for ever; a choice
_CONNECT_SECONDS = 2.0
_PREFIX = "costguard:semantic:"
# KEYS: the hash of entries. ARGV: id, entry.
_REPLACE = "if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end"
# KEYS: the hash of entries, the vector set, the set of scopes. ARGV: the scope, then ids.
_DELETE = """
for i = 2, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[i])
  redis.call('VREM', KEYS[2], ARGV[i])
end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[3], ARGV[1]) end
"""


class RedisIndex(SharedIndex):
    """Entries in Redis 8 or newer.

    Args:
        url: as of :class:`~costguard_core.util.redis_address.RedisUrl`.
        name: of the cache.
        timeout: seconds that a search may take.

    Raises:
        MissingExtraError: the extra ``redis`` is not installed.
        ConfigurationError: the URL cannot be read.
    """

    def __init__(self, url: str, *, name: str = "costguard", timeout: float = 0.1) -> None:
        require_redis("the semantic cache's index (Redis)")
        parts = RedisUrl.read(url)
        self._target = Target(parts)
        answer, connect = parts.socket_timeout or _MAX_ANSWER_SECONDS, parts.socket_connect_timeout or _CONNECT_SECONDS
        self._client: Any = open_client(parts, self._target, answer, connect_timeout=connect)
        self._prefix = f"{{{_PREFIX}{name}}}:"
        self._replace_script = self._client.register_script(_REPLACE)
        self._delete_script = self._client.register_script(_DELETE)
        super().__init__(printable(url), name=name, timeout=timeout)

    def _search(self, scope: str, unit: list[float], k: int) -> list[Found]:
        query = ("VSIM", self._vectors(scope), "FP32", _bytes(unit), "WITHSCORES", "COUNT", k, "EF", _EFFORT)
        scores = _pairs(self._client.execute_command(*query))
        if not scores:
            return []
        texts = self._client.hmget(self._entry_key(scope), [name for name, _ in scores])
        found = zip(map(readable, texts), scores, strict=True)
        # A score is (1 + cosine) / 2: https://redis.io/docs/latest/commands/vsim/
        return [Found(entry, 2 * score - 1) for entry, (_, score) in found if entry is not None]

    def _put(self, scope: str, entries: Sequence[Entry], units: Sequence[list[float]]) -> None:
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.sadd(self._scopes_key, scope)
            for entry, unit in zip(entries, units, strict=True):
                pipeline.execute_command("VADD", self._vectors(scope), "FP32", _bytes(unit), entry.id, "NOQUANT")
                pipeline.hset(self._entry_key(scope), entry.id, entry.dump())
            pipeline.execute()

    def _replace(self, scope: str, entry: Entry) -> None:
        self._replace_script(keys=[self._entry_key(scope)], args=[entry.id, entry.dump()])

    def _delete(self, scope: str, ids: Sequence[str]) -> None:
        keys = [self._entry_key(scope), self._vectors(scope), self._scopes_key]
        self._delete_script(keys=keys, args=[scope, *ids])

    def _entries(self, scope: str) -> list[Entry]:
        return list(self._rows(scope))

    def _rows(self, scope: str) -> Iterator[Entry]:
        for _, row in self._client.hscan_iter(self._entry_key(scope), count=PAGE):
            entry = readable(row)
            if entry is not None:
                yield entry

    def _count(self, scope: str) -> int:
        return int(self._client.hlen(self._entry_key(scope)))

    def _scopes(self) -> list[str]:
        return [scope.decode() for scope in self._client.smembers(self._scopes_key)]

    def _names(self) -> list[str]:
        # On a cluster, those of one shard. A name is in the keys of its scopes, and of what it has learned.
        keys = [key.decode() for key in self._client.scan_iter(match=f"{{{_PREFIX}*}}:*", count=PAGE)]
        return sorted({key.removeprefix(f"{{{_PREFIX}").rpartition("}:")[0] for key in keys})

    def _invalidate(self, tags: Sequence[str], *, scrub: bool) -> int:
        removed = 0
        for scope in self._scopes():
            # A hash that is scanned may tell a row twice: https://redis.io/docs/latest/commands/scan/
            matching = list({entry.id for entry in self._rows(scope) if set(tags) <= set(entry.tags)})
            for start in range(0, len(matching), PAGE):
                self._delete(scope, matching[start : start + PAGE])
            removed += len(matching)
        return removed

    def _clear(self) -> None:
        keys = [key for scope in self._scopes() for key in (self._entry_key(scope), self._vectors(scope))]
        for start in range(0, len(keys), PAGE):
            self._client.unlink(*keys[start : start + PAGE])
        self._client.unlink(self._scopes_key)

    def _load_state(self) -> str | None:
        state = self._client.get(f"{self._prefix}evidence")
        return None if state is None else state.decode()

    def _save_state(self, state: str) -> None:
        self._client.set(f"{self._prefix}evidence", state)

    @property
    def _scopes_key(self) -> str:
        return f"{self._prefix}scopes"

    def _entry_key(self, scope: str) -> str:
        return f"{self._prefix}entries:{scope}"

    def _vectors(self, scope: str) -> str:
        return f"{self._prefix}vectors:{scope}"

    def _attempt(self, work: Callable[[], T]) -> T:
        """Once more, where a cluster or a failover has moved the keys."""
        generation = self._target.generation
        try:
            return work()
        except Exception as error:
            if "unknown command" in str(error).lower():
                raise ConfigurationError(
                    f"{self.url} has no vector sets, which Redis has since version 8: use a newer Redis, or "
                    'SemanticCache(..., url="http://…") of a Chroma server'
                ) from None
            if wrong_server(error) is None:
                raise
            self._target.renew(generation, moved_to(error))
            return work()

    def _disconnect(self) -> None:
        self._target.server_is_away()  # connections are made anew

    def close(self) -> None:
        super().close()
        self._client.close()

    def _forget(self) -> None:
        pass  # redis-py notices a fork itself


def _bytes(unit: Sequence[float]) -> bytes:
    return array("f", unit).tobytes()


def _pairs(answer: Any) -> list[tuple[str, float]]:
    """Names and scores, as RESP2 lists them, RESP3 maps them, and newer clients hand them out."""
    flat = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return [(name.decode() if isinstance(name, bytes) else str(name), float(score)) for name, score in flat]
