"""A search among 100,000 vectors of 384 numbers in one file of this machine: Costguard's index in SQLite, and
sqlite-vec and LanceDB where they are installed, whose rows hold the scope and the vector only.

    pip install lancedb apsw sqlite-vec
    python benchmarks/embedded_indexes.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _checks import clustered, fill

from costguard_core.cache.semantic.index.base import Entry
from costguard_core.cache.semantic.index.sqlite import SqliteIndex

_MANY, _SEARCHES, _WRITES = 100_000, 100, 20


class Peer(NamedTuple):
    """What finds the eight nearest of a vector, and what stores one more."""

    search: Callable[[list[float]], object]
    add: Callable[[list[float]], object]


def main() -> None:
    vectors, near = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in clustered(_MANY))
    asked = near[:_SEARCHES].tolist()
    for name, opened in {"costguard": costguard, "sqlite-vec": sqlite_vec, "lancedb": lancedb}.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                peer = opened(folder, vectors)
            except ImportError as error:
                print(f"{name}: not installed ({error})")
                continue
            first, *took = [milliseconds(peer.search, one) for one in asked]
            added = [milliseconds(peer.add, one) for one in near[-_WRITES:].tolist()]
            print(
                f"{name}: first search {first:.0f} ms, p50 {statistics.median(took):.2f} ms; "
                f"one more entry {statistics.median(added):.2f} ms"
            )


def milliseconds(work: Callable[[list[float]], object], vector: list[float]) -> float:
    started = time.perf_counter()
    work(vector)
    return 1000 * (time.perf_counter() - started)


def costguard(folder: str, vectors: Any) -> Peer:
    path, entry = f"{folder}/answers.db", Entry("one more", "question", "{}", "answer", "g", 0.0)
    fill(SqliteIndex(path), vectors)
    index = SqliteIndex(path)  # as a process that starts opens it
    return Peer(lambda one: index.search("scope", one, 8), lambda one: index.put("scope", entry, one))


def sqlite_vec(folder: str, vectors: Any) -> Peer:
    import apsw  # many Pythons are built without loadable extensions
    import sqlite_vec

    db = apsw.Connection(f"{folder}/vectors.db")
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    db.execute("CREATE VIRTUAL TABLE v USING vec0(scope TEXT PARTITION KEY, vector FLOAT[384] distance_metric=cosine)")
    add = "INSERT INTO v (scope, vector) VALUES ('scope', ?)"
    with db:
        db.executemany(add, ((np.float32(row).tobytes(),) for row in vectors))
    query = "SELECT rowid, distance FROM v WHERE scope = 'scope' AND vector MATCH ? AND k = 8"
    return Peer(
        lambda one: db.execute(query, (np.float32(one).tobytes(),)).fetchall(),
        lambda one: db.execute(add, (np.float32(one).tobytes(),)),
    )


def lancedb(folder: str, vectors: Any) -> Peer:
    import lancedb
    import pyarrow as pa

    column = pa.FixedSizeListArray.from_arrays(pa.array(np.float32(vectors).ravel()), vectors.shape[1])
    rows = pa.table({"scope": ["scope"] * len(vectors), "vector": column})
    table = lancedb.connect(folder).create_table("v", rows)

    def search(one: list[float]) -> object:
        found = table.search(one).distance_type("cosine").where("scope = 'scope'", prefilter=True)
        return found.limit(8).to_list()

    return Peer(search, lambda one: table.add([{"scope": "scope", "vector": one}]))


if __name__ == "__main__":
    main()
