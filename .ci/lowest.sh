#!/usr/bin/env bash
# Installs the lowest versions that pyproject.toml allows, from requirements/lowest.txt, and uses every part once.
# Usage: .ci/lowest.sh PATH-OF-UV
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$work/venv/bin/python

"$uv" venv --quiet --python .venv/bin/python "$work/venv"
"$uv" pip install --quiet --python "$python" --require-hashes -r requirements/lowest.txt
"$uv" build --quiet --wheel --no-build-isolation --python .venv/bin/python --out-dir "$work/dist"
"$uv" pip install --quiet --python "$python" --no-deps "$work"/dist/*.whl

"$uv" pip check --quiet --python "$python"  # also says if a floor in pyproject.toml was raised without `make lock`
for part in langchain llamaindex extras; do
  "$python" -W ignore ".ci/smoke_$part.py"
done
