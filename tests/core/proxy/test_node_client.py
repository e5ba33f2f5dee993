"""OpenAI's client for Node, pointed at the proxy: where node and the package are (NODE_PATH names its folder)."""

from __future__ import annotations

import json
import shutil
import subprocess
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


def _node() -> str:
    """The path of node, if it finds the package."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    found = subprocess.run([node, "-e", "require.resolve('openai')"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("npm's package openai is not installed: npm install openai, and NODE_PATH=…/node_modules")
    return node


def test_nodes_client_is_answered_streamed_to_and_refused(start_proxy: Any) -> None:
    node = _node()
    proxy = start_proxy("$10/day", '$0.0000001/call where user = "poor"')
    command = [node, "-e", PROGRAM, proxy.base_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text, streamed, response, dimensions, refused = json.loads(done.stdout)
    assert text
    assert streamed == text  # from the cache
    assert response
    assert dimensions > 0
    assert refused == ["RateLimitError", 429, "spend_limit_exceeded"]
    proxy.guard.flush()
    total = proxy.guard.report().total
    assert (total.paid, total.hits, total.refused) == (3, 1, 1)
