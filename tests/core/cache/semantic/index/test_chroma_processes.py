"""A Chroma folder belongs to one process, however many caches that process opens and closes."""

import pytest
from python_process import run_python

from costguard_core.cache.semantic.index.chroma import ChromaIndex

OTHER = """
import sys
from costguard_core.cache.semantic.index.chroma import ChromaIndex
from costguard_core.cache.semantic.index.base import IndexUnavailable
try:
    ChromaIndex(sys.argv[1]).count("scope")
    print("open")
except IndexUnavailable:
    print("taken")
"""


def other_process(path):
    done = run_python(OTHER, path, check=False)
    return done.stdout.strip() or done.stderr


@pytest.mark.slow
def test_closing_one_cache_does_not_let_another_process_in_beside_the_other(tmp_path):
    ours, more = ChromaIndex(tmp_path), ChromaIndex(tmp_path)
    ours.count("scope"), more.count("scope")
    more.close()
    assert other_process(tmp_path) == "taken"
    ours.close()
    assert other_process(tmp_path) == "open"
