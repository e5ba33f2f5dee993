"""The proxy from a shell: curl, without any client of a vendor."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from costguard_core.simulate import Simulator

BODY: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}


def _curl(*arguments: str) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    return subprocess.run(
        [program, "-sS", "--max-time", "60", *arguments], capture_output=True, text=True, check=True
    ).stdout


def _post(url: str, body: Any, *more: str) -> str:
    return _curl(url, "-H", "content-type: application/json", "-d", json.dumps(body), *more)


def test_an_answer_a_stream_and_headers(openai_server: Simulator, start_proxy: Any) -> None:
    proxy = start_proxy("$1/day")
    url = f"{proxy.base_url}/chat/completions"
    answer = _post(url, BODY, "-i")
    head, _, body = answer.replace("\r", "").partition("\n\n")
    assert "HTTP/1.1 200" in head
    assert "x-costguard-cache: miss" in head
    text = json.loads(body)["choices"][0]["message"]["content"]
    events = _post(url, {**BODY, "stream": True}, "-N", "-i").replace("\r", "")
    assert "x-costguard-cache: exact" in events
    assert json.dumps(text, ensure_ascii=False) in events
    assert events.endswith("data: [DONE]\n\n")
    assert openai_server.count == 1


def test_errors_are_told_in_the_shape_of_the_api(start_proxy: Any) -> None:
    proxy = start_proxy("$0.0000001/day")
    refused = json.loads(_post(f"{proxy.base_url}/chat/completions", BODY))
    assert refused["error"]["code"] == "spend_limit_exceeded"
    refused = json.loads(_post(f"{proxy.url}/v1/messages", {**BODY, "model": "claude-sonnet-4-5", "max_tokens": 9}))
    assert refused["error"]["type"] == "rate_limit_error"
    broken = json.loads(_curl(f"{proxy.base_url}/chat/completions", "-d", "{broken"))
    assert broken["error"]["code"] == "invalid_json"


def test_compressed_answers_and_expect_are_left_to_the_program(start_proxy: Any) -> None:
    proxy = start_proxy()
    long = {**BODY, "messages": [{"role": "user", "content": "word " * 3000}]}
    answer = _post(f"{proxy.base_url}/chat/completions", long, "--compressed", "-H", "expect: 100-continue")
    assert json.loads(answer)["choices"]
