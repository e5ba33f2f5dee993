#!/usr/bin/env bash
# Installs the clients for Node that tests of the proxy run, where npm is. Without them these tests skip themselves.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v npm >/dev/null; then
  echo "no npm: the tests that need clients for Node will be skipped"
  exit 0
fi
target=.tools/node
if cmp -s .ci/node/package-lock.json "$target/package-lock.json" && [ -d "$target/node_modules/openai" ]; then exit 0; fi
mkdir -p "$target"
cp .ci/node/package.json .ci/node/package-lock.json "$target/"
if ! npm ci --prefix "$target" --ignore-scripts --no-audit --no-fund >/dev/null 2>&1; then
  echo "clients for Node could not be installed: the tests that need them will be skipped"
fi
