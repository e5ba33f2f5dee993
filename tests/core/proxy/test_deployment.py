"""The files of ``deploy/``: what can be checked of them without building an image."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from costguard_core.ledger import open_ledger
from costguard_core.policy.policy import parse_policy
from costguard_core.proxy.keys import open_key_store
from costguard_core.proxy.settings import proxy_settings

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture
def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["proxy"]
    return found


def test_the_policy_can_be_used_with_the_variables_of_the_compose_file(service: dict[str, Any]) -> None:
    text = (DEPLOY / "costguard.toml").read_text()
    given = {name: value.replace("${POSTGRES_PASSWORD:?}", "p") for name, value in service["environment"].items()}
    assert set(re.findall(r"\$\{(\w+)", text)) <= set(given)
    policy = parse_policy(text, given)
    settings = proxy_settings(policy.proxy, {})
    assert (settings.host, settings.keys) == ("0.0.0.0", "postgresql://costguard:p@postgres/costguard")
    assert policy.options["store"].startswith("redis://redis:")
    assert "4000:4000" in service["ports"]
    assert settings.port == 4000


def test_what_stops_the_proxy_waits_longer_than_it_drains(service: dict[str, Any]) -> None:
    drain = proxy_settings({}, {}).drain
    unit = (DEPLOY / "costguard-proxy.service").read_text()
    assert int(service["stop_grace_period"].removesuffix("s")) > drain
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > drain


def test_one_database_holds_ledger_and_keys(postgres_db: str) -> None:
    with open_ledger(postgres_db) as ledger:
        store = open_key_store(postgres_db)
        secret, key = store.create({"user": "u1"})
        assert store.find(secret) == key
        store.close()
        ledger.flush()
    with open_ledger(postgres_db) as again:
        again.flush()


def test_the_unit_has_no_setting_that_systemd_does_not_know(tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "costguard-proxy.service"
    text = (DEPLOY / "costguard-proxy.service").read_text()
    unit.write_text(text.replace("/opt/costguard/bin/costguard", shutil.which("true") or "/bin/true"))
    done = subprocess.run([systemd, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "Unknown" not in done.stderr, done.stderr
