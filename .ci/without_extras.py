"""Run inside an environment that has the base dependencies only: everything imports, and nothing imports too much."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

EXTRAS = ("chromadb", "langchain", "matplotlib", "pandas", "prometheus_client", "psycopg", "redis", "starlette")
NEEDS_AN_EXTRA = ("costguard_core.simulate.app",)  # imported when a simulator starts, not before


def main() -> None:
    present = [name for name in EXTRAS if find_spec(name)]
    assert not present, f"this environment has extras: {present}"
    import costguard_core

    assert "site-packages" in Path(costguard_core.__file__).parts, "the wheel must be tested, not the work tree"
    for module in pkgutil.walk_packages(costguard_core.__path__, "costguard_core."):
        if module.name not in NEEDS_AN_EXTRA:
            importlib.import_module(module.name)
    _use_adapter()
    if find_spec("llama_index") and find_spec("llamaindex_costguard.guard"):
        _assert_no_langchain("llamaindex_costguard")
    _assert_no_langchain("costguard_core.cli.main")


def _use_adapter() -> None:
    """Every public name is there, or says which extra it needs."""
    import langchain_costguard
    from costguard_core.errors import MissingExtraError

    for name in langchain_costguard.__all__:
        try:
            getattr(langchain_costguard, name)
        except MissingExtraError as missing:
            print(f"{name}: {missing}")


def _assert_no_langchain(module: str) -> None:
    check = f"import sys, {module}; sys.exit(' '.join(m for m in sys.modules if m.startswith('langchain')) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True)


if __name__ == "__main__":
    main()
