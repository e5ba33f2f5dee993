"""The recipe of docs/fastapi.md on a real server: a refusal is a 429 before the first byte, an answer a stream."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from documents import ROOT
from waiting import wait_until

from costguard_core import Attribution, Call, Usage
from costguard_core.simulate import Simulator

PAGE = (ROOT / "docs" / "fastapi.md").read_text()


@pytest.fixture
def site(openai_server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Where the recipe is served, and its guard."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "simulated")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_BASE", openai_server.base_url)
    names: dict[str, Any] = {"__name__": "__main__"}
    for snippet in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        exec(compile(snippet, "fastapi.md", "exec"), names)
    server = uvicorn.Server(uvicorn.Config(names["app"], port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", names["guard"]
    finally:
        server.should_exit = True
        thread.join()
        names["guard"].close()


@pytest.mark.parametrize("path", ["/chat", "/ask"])
def test_answers_are_streamed_and_refusals_are_429(path: str, site: tuple[str, Any], openai_server: Simulator) -> None:
    url, guard = site
    u1 = Attribution(user="u1")
    spent = Call(guard.new_id(), "gpt-4o-mini", guard.clock(), "openai", u1, input_tokens=10, max_output_tokens=10)
    with httpx.Client(base_url=url, timeout=60) as client:
        asked = {"question": "Tell me a story.", "user": "u1"}
        with client.stream("GET", path, params=asked) as answer:
            assert answer.status_code == 200
            assert len([piece for piece in answer.iter_raw() if piece]) > 1
        guard.grant("$25/day per user", user="u1", limit="$0.00000001")
        before = openai_server.count
        refused = client.get(path, params=asked)
        assert refused.status_code == 429
        assert refused.json() == {"detail": "This request is larger than what is allowed here. Please shorten it."}
        guard.grant("$25/day per user", user="u1", limit="$0.01")
        guard.after(guard.before(spent), Usage(66_000, 10))
        refused = client.get(path, params=asked)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["Retry-After"]) <= 86_400
        assert refused.json()["detail"].startswith("The usage limit has been reached")
        assert openai_server.count == before
        assert client.get(path, params={**asked, "user": "u2"}).status_code == 200
    assert guard.report(by="user").rows[0].key == ("u1",)
