"""Run inside an environment that has the base dependencies only: everything imports, and nothing imports too much."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

EXTRAS = (
    "chromadb",
    "langchain",
    "llama_index",
    "matplotlib",
    "pandas",
    "prometheus_client",
    "psycopg",
    "pymemcache",
    "qdrant_client",
    "redis",
    "starlette",
)
NEEDS_AN_EXTRA = (
    "costguard_core.simulate.app",  # imported when a simulator starts, not before
    "costguard_core.testing.plugin",  # imported by pytest
)


def main() -> None:
    present = [name for name in EXTRAS if find_spec(name)]
    assert not present, f"this environment has extras: {present}"
    import costguard_core

    assert "site-packages" in Path(costguard_core.__file__).parts, "the wheel must be tested, not the work tree"
    for module in pkgutil.walk_packages(costguard_core.__path__, "costguard_core."):
        if module.name not in NEEDS_AN_EXTRA:
            importlib.import_module(module.name)
    _import_everything("langchain_costguard", missing={"CostGuardMiddleware": "agents"})
    _import_everything("llamaindex_costguard", missing={"guard_llm": "llamaindex", "TieredRouter": "llamaindex"})
    _assert_no_langchain("llamaindex_costguard")
    _assert_no_langchain("costguard_core.cli.main")


def _import_everything(adapter: str, *, missing: dict[str, str]) -> None:
    """``import *`` gives the public names that are there; the others are named with the extra that they need."""
    from costguard_core.errors import MissingExtraError

    names: dict[str, object] = {}
    exec(f"from {adapter} import *", names)
    assert "CostGuard" in names, names
    for name, extra in missing.items():
        assert name not in names
        try:
            getattr(importlib.import_module(adapter), name)
        except MissingExtraError as error:
            assert f"langchain-costguard[{extra}]" in str(error), error
        else:
            raise AssertionError(f"{adapter}.{name} does not say that it needs the extra {extra}")


def _assert_no_langchain(module: str) -> None:
    check = f"import sys, {module}; sys.exit(' '.join(m for m in sys.modules if m.startswith('langchain')) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True)


if __name__ == "__main__":
    main()
