#!/usr/bin/env bash
# Resolves exact versions with hashes for every supported Python and platform. No index address is written: whoever
# installs decides where packages come from, and the hashes decide what they are. Usage: .ci/lock.sh [path of uv]
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${1:-uv}
compile() {
  "$uv" pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header "$@"
}

# uv keeps the versions in the output file that still fit; remove the files first to upgrade everything.
compile --python-version 3.8 requirements/uv.in --output-file requirements/uv.txt
compile --python-version 3.11 pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
compile --python-version 3.11 pyproject.toml --extra demo --group build \
  --constraint requirements/dev.txt --output-file requirements/demo.txt

# The lowest versions that pyproject.toml allows of what it names, for `make lowest`. From scratch: no version is kept.
rm -f requirements/lowest.txt
compile --python-version 3.11 pyproject.toml --all-extras --group smoke --resolution lowest-direct \
  --constraint requirements/lowest.in --output-file requirements/lowest.txt
