"""The command line: it starts light, finds adapters' commands, and says what was wrong in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from python_process import run_python
from typer.testing import CliRunner

from costguard_core.cli.main import app
from costguard_core.ledger import open_ledger

RUN = "from costguard_core.cli.main import app; app()"
HEAVY = ("langchain_core", "langchain_openai", "llama_index", "chromadb", "starlette", "uvicorn", "openai", "redis")


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(args))
    return result.exit_code, result.stdout, result.stderr


def test_version() -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("costguard ")


def test_help_names_every_command_of_core_and_adapters() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for command in ("budget", "demo", "report", "simulate"):
        assert command in out
        assert run(command, "--help")[0] == 0


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["simulate", "--help"], ["demo", "--help"]])
def test_starts_without_loading_frameworks(args: list[str]) -> None:
    code = (
        "import json, sys\nfrom costguard_core.cli.main import app\n"
        f"try: app({args!r})\nexcept SystemExit: pass\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)"
    )
    done = run_python(code)
    assert json.loads(done.stderr) == []


@pytest.mark.parametrize("args", [["--limit", "2", "--by", "user", "--where", "plan=free"], []])
def test_a_report_does_not_load_pydantic_to_read_its_arguments(args: list[str], tmp_path: Path) -> None:
    path = tmp_path / "costguard.db"
    open_ledger(f"sqlite:///{path}").close()
    code = (
        "import sys\nfrom costguard_core.cli.main import app\n"
        f"try: app({['report', '--db', str(path), *args]!r})\nexcept SystemExit as ended: assert not ended.code\n"
        "print('pydantic' in sys.modules, file=sys.stderr)"
    )
    assert run_python(code).stderr.strip() == "False"


def test_another_version_of_typer_converts_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def coerce(*given: object, **named: object) -> None:
        raise AttributeError("what another version has where this one has something else")

    path = tmp_path / "costguard.db"
    open_ledger(f"sqlite:///{path}").close()
    monkeypatch.setattr("costguard_core.cli.main._Conversion.coerce", coerce)
    monkeypatch.setattr("typer.__version__", "0.30.0")
    assert run("report", "--db", str(path), "--limit", "2", "--where", "plan=free")[0] == 0


@pytest.mark.parametrize("limit", ["two", "2.5", ""])
def test_what_is_no_number_is_refused(limit: str, tmp_path: Path) -> None:
    code, _, said = run("report", "--db", str(tmp_path / "costguard.db"), "--limit", limit)
    assert code == 2
    assert "'--limit'" in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["simulat"], "there is no command 'simulat'; did you mean 'costguard simulate'?"),
        (["zebra"], "there is no command 'zebra'; costguard --help lists them"),
        (["simulate", "--port", "99999"], "65535"),
        (["simulate", "--host", "no such host"], "cannot listen on"),
        (["demo", "--base-url", "https://api.example.com/v1"], "set OPENAI_API_KEY"),
    ],
)
def test_bad_input_is_exit_code_2_and_says_why(args: list[str], said: str) -> None:
    code, _, err = run(*args)
    assert code == 2
    assert said in " ".join(err.split())
    assert "Traceback" not in err


@pytest.mark.slow
def test_simulate_serves_until_interrupted() -> None:
    command = [sys.executable, "-c", RUN, "simulate", "--port", "0", "--latency", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        base_url = process.stderr.readline().split()[3]
        try:
            assert httpx.get(f"{base_url}/models", timeout=60).status_code == 200
        finally:
            process.send_signal(2)
        assert process.wait(timeout=60) == 0
