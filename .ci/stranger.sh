#!/usr/bin/env bash
# What a stranger does on the first day, in a fresh environment and an empty directory: install the wheel as the README
# says, run its snippet against `costguard simulate`, and read the report. Then each extra alone. Usage: [PYTHON=python3.13] .ci/stranger.sh UV
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1 here=$PWD
work=$(mktemp -d)
python=$work/venv/bin/python
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

# The versions of the lock, so that a new release elsewhere does not fail this; a stranger's pip takes the newest.
install() { "$uv" pip install --quiet --python "$python" --constraint requirements/dev.txt "$@"; }

"$uv" build --quiet --wheel --no-build-isolation --python .venv/bin/python --out-dir "$work/dist"
wheel=$(echo "$work"/dist/*.whl)

started=$SECONDS
"$uv" venv --quiet --python "${PYTHON:-.venv/bin/python}" "$work/venv"
install "$wheel[demo]"
"$python" - README.md >"$work/snippet.py" <<'PYTHON'
import re, sys
[snippet] = re.findall(r"^```python\n(.*?)^```", open(sys.argv[1]).read(), flags=re.MULTILINE | re.DOTALL)
print(snippet)
PYTHON
cd "$work"
venv/bin/costguard simulate --port 0 2>server.log &
until grep -q http server.log; do kill -0 $!; sleep 0.1; done
export OPENAI_API_KEY=any OPENAI_BASE_URL
OPENAI_BASE_URL=$(grep -o 'http://[^ ]*' server.log | head -1)
"$python" snippet.py
venv/bin/costguard report --by user,endpoint
venv/bin/costguard budget status '$25/day per user' --store sqlite:///costguard.db
echo "from nothing to a capped, cached, attributed call with a report: $((SECONDS - started)) s"

cd "$here"
extras=$("$python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"])')
for extra in $extras; do
  "$uv" venv --quiet --clear --python "${PYTHON:-.venv/bin/python}" "$work/venv"
  install "$wheel[$extra]"
  (cd "$work" && "$python" -c 'from langchain_costguard import *; CostGuard(["$1/day"]).close()' && venv/bin/costguard --version >/dev/null)
  echo "alone: $extra"
done
