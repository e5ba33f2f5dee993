#!/usr/bin/env bash
# Builds the wheel and uses it as a stranger would: in a fresh environment without any extra, then with the demo's.
# Usage: .ci/package.sh PATH-OF-UV
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$work/venv/bin/python

install() {
  "$uv" pip install --quiet --python "$python" --constraint requirements/dev.txt "$@"
}

"$uv" build --quiet --wheel --no-build-isolation --python .venv/bin/python --out-dir "$work/dist"
wheel=$(echo "$work"/dist/*.whl)
"$uv" venv --quiet --python .venv/bin/python "$work/venv"

install "$wheel"
"$python" .ci/without_extras.py
(cd "$work" && venv/bin/costguard --help >/dev/null)

install "$wheel[demo]"
(cd "$work" && venv/bin/costguard demo --fast --json) | "$python" -c '
import json, sys
day = json.load(sys.stdin)["with"]
assert not day["failed"] and day["refused"] and day["hits"]["exact"], day
'
echo "the wheel works without extras, and its demo with its own"
