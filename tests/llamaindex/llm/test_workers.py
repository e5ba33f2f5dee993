"""Guarded models in the worker processes of an ingestion pipeline: they spend from the same budget, or say why not."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from llama_index.core.llms import MockLLM
from python_process import run_python

from costguard_core import CostGuard
from llamaindex_costguard import ExactCache, guard_llm

PIPELINE = """
from llama_index.core import Document, MockEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llamaindex_costguard import CostGuard, guard_embedding

if __name__ == "__main__":
    guard = CostGuard(["100 requests/day"], store={url!r}, ledger={url!r})
    steps = [guard_embedding(MockEmbedding(embed_dim=3), guard)]
    documents = [Document(text=f"Fact {{n}}.", id_=str(n)) for n in range(4)]
    print(len(IngestionPipeline(transformations=steps).run(documents=documents, num_workers=2)), "nodes")
    guard.close()
"""
USE = """
import pickle, sys
from pathlib import Path

llm = pickle.loads(Path(sys.argv[1]).read_bytes())
try:
    print(llm.complete("hi").text, llm.complete("hi").additional_kwargs["costguard"]["cache"])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_workers_spend_from_the_same_budget_and_their_calls_are_in_the_ledger(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/costguard.db"
    program = tmp_path / "ingest.py"  # workers import the file
    program.write_text(PIPELINE.format(url=url))
    run = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    assert run_python(run, program).stdout.strip() == "4 nodes"
    with CostGuard(["100 requests/day"], store=url, ledger=url) as guard:
        assert guard.status()[0].spent == guard.report().total.calls == 2  # a batch in each worker


def test_another_process_spends_from_the_same_budget_and_shares_the_cache(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/costguard.db"
    with CostGuard(["100 requests/day"], store=url) as guard:
        llm = guard_llm(MockLLM(max_tokens=2), guard, cache=ExactCache(url))
        assert pickle.loads(pickle.dumps(llm))._costguard is llm._costguard
        (tmp_path / "llm").write_bytes(pickle.dumps(llm))
        assert run_python(USE, tmp_path / "llm").stdout.strip() == "text text exact"
        assert guard.status()[0].spent == 1
        assert llm.complete("hi").additional_kwargs["costguard"]["cache"] == "exact"


@pytest.mark.parametrize(
    ("store", "cache", "why"),
    [
        ("memory://", None, "a CostGuard with store='memory://' cannot be pickled: a copy must spend from the same"),
        ("sqlite", "redis://:hunter2@localhost:1/0", "a cache over 'redis://localhost:1/0' cannot be pickled"),
    ],
)
def test_where_nothing_can_be_shared_each_use_says_so(tmp_path: Path, store: str, cache: str | None, why: str) -> None:
    url = f"sqlite:///{tmp_path}/costguard.db" if store == "sqlite" else store
    llm = guard_llm(MockLLM(max_tokens=2), CostGuard(["100 requests/day"], store=url), cache=cache)
    pickled = pickle.dumps(llm)
    assert b"hunter2" not in pickled
    (tmp_path / "llm").write_bytes(pickled)
    said = run_python(USE, tmp_path / "llm").stdout
    assert said.startswith("ConfigurationError this model was guarded in another process")
    assert why in said
