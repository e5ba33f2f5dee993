"""Clients for Node, pointed at the proxy, where node is and `make peers` has installed them (or NODE_PATH has them)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
const { OpenAI } = require('openai');
const client = new OpenAI({ baseURL: process.argv[1], apiKey: 'k', maxRetries: 0 });
const asked = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'Hi' }] };
(async () => {
  const plain = await client.chat.completions.create(asked);
  let streamed = '';
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    streamed += chunk.choices[0]?.delta?.content ?? '';
  }
  const response = await client.responses.create({ model: 'gpt-4o-mini', input: 'Why?' });
  const vectors = await client.embeddings.create({ model: 'text-embedding-3-small', input: 'a' });
  let refused = null;
  try {
    await client.chat.completions.create({ ...asked, user: 'poor', seed: 1 });
  } catch (error) {
    refused = [error.constructor.name, error.status, error.code];
  }
  const text = plain.choices[0].message.content;
  const found = [text, streamed, response.output_text, vectors.data[0].embedding.length, refused];
  console.log(JSON.stringify(found));
})();
"""


ANTHROPIC = """
const Anthropic = require('@anthropic-ai/sdk');
const client = new Anthropic({ baseURL: process.argv[1], apiKey: 'k', maxRetries: 0 });
const asked = { model: 'claude-sonnet-4-5', max_tokens: 900, messages: [{ role: 'user', content: 'Hi' }] };
(async () => {
  const plain = await client.messages.create(asked);
  const streamed = await client.messages.stream(asked).finalMessage();
  let refused = null;
  try {
    await client.messages.create({ ...asked, metadata: { user_id: 'poor' }, temperature: 0.5 });
  } catch (error) {
    refused = [error.constructor.name, error.status, error.error.error.type];
  }
  console.log(JSON.stringify([plain.content[0].text, streamed.content[0].text, refused]));
})();
"""
MODULES = Path(__file__).parents[3] / ".tools" / "node" / "node_modules"
POOR = '$0.0000001/call where user = "poor"'


def _run(program: str, package: str, url: str) -> list[Any]:
    """What a program prints as JSON."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    environment = {"NODE_PATH": str(MODULES), **os.environ}
    found = subprocess.run(
        [node, "-e", f"require.resolve('{package}')"], capture_output=True, check=False, env=environment
    )
    if found.returncode:
        pytest.skip(f"npm's package {package} is not installed: make peers")
    command = [node, "-e", program, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    printed: list[Any] = json.loads(done.stdout)
    return printed


def test_openais_client_is_answered_streamed_to_and_refused(start_proxy: Any) -> None:
    proxy = start_proxy("$10/day", POOR)
    text, streamed, response, dimensions, refused = _run(PROGRAM, "openai", proxy.base_url)
    assert text
    assert streamed == text  # from the cache
    assert response
    assert dimensions > 0
    assert refused == ["RateLimitError", 429, "spend_limit_exceeded"]
    proxy.guard.flush()
    total = proxy.guard.report().total
    assert (total.paid, total.hits, total.refused) == (3, 1, 1)


def test_anthropics_client_is_answered_streamed_to_and_refused(start_proxy: Any) -> None:
    proxy = start_proxy("$10/day", POOR)
    text, streamed, refused = _run(ANTHROPIC, "@anthropic-ai/sdk", proxy.url)
    assert text
    assert streamed == text
    assert refused == ["RateLimitError", 429, "rate_limit_error"]
    proxy.guard.flush()
    total = proxy.guard.report().total
    assert (total.paid, total.hits, total.refused) == (1, 1, 1)
