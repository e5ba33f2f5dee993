# Needs Python >= 3.11 and make, nothing else. Everything is installed under .venv/ and .tools/ in this directory.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

# An installed uv is used if it runs; otherwise a private one is fetched into .tools/.
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .tools/bin/uv)
RUN := .venv/bin/python
TRIALS := workers celery_prefork processes clocks killed_ledger throttled_sqlite postgres sentinel cluster
BENCHMARKS := call_count exact_cache metering llamaindex breaker_stores ledger prices
PYTEST_ARGS ?=
export UV_PYTHON_DOWNLOADS := never

.PHONY: help browser peers demo test test-fast lint format typecheck contracts notebooks notebooks-check reference picture dist package stranger lowest call-count bench trials lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: .venv/.demo  ## replay a support bot's day, without and with Costguard (no key, no network)
	.venv/bin/costguard demo $(DEMO_ARGS)

browser:  ## install Chromium for the tests of the page, as root on Debian; without it they skip themselves
	.ci/browser.sh

peers:  ## install Debian's Prometheus and memcached, and clients for Node, which some tests ask; without them they skip themselves
	.ci/debian.sh prometheus
	.ci/debian.sh memcached libevent-2.1-7t64 libevent-2.1-7
	.ci/node.sh

test: .venv/.dev  ## every test, on real servers that run inside the test session
	$(RUN) -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

test-fast: .venv/.dev  ## the inner loop: tests that take less than a second
	$(RUN) -m pytest -n 2 --dist worksteal -m "not slow" $(PYTEST_ARGS)

lint: .venv/.dev  ## ruff: rules and formatting
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: .venv/.dev  ## let ruff fix and format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

typecheck: .venv/.dev  ## mypy, strict; and pyright on what users of the package write
	$(RUN) -m mypy
	$(RUN) -m basedpyright

contracts: .venv/.dev  ## who may import whom, and no circles
	.venv/bin/lint-imports --no-logo
	$(RUN) -m pytest -q tests/test_architecture.py

notebooks: .venv/.dev  ## execute the notebooks offline and write their outputs
	$(RUN) .ci/notebooks.py --write

notebooks-check: .venv/.dev  ## execute them and check what is committed
	$(RUN) .ci/notebooks.py

reference: .venv/.dev  ## write docs/reference.md from the docstrings
	$(RUN) .ci/reference.py > docs/reference.md

picture: .venv/.dev  ## draw docs/page.png, the page over made-up calls, in Chromium
	$(RUN) .ci/page_picture.py docs/page.png

dist: .venv/.dev  ## build the wheel and the source archive into dist/
	$(UV) build --quiet --no-build-isolation --python .venv/bin/python --out-dir dist

package: .venv/.dev  ## build the wheel and use it in a fresh environment, without extras
	.ci/package.sh "$(UV)"

stranger: .venv/.dev  ## follow the README from a fresh environment; then each extra alone
	.ci/stranger.sh "$(UV)"

lowest: .venv/.dev  ## use every part with the lowest versions that are allowed
	.ci/lowest.sh "$(UV)"

call-count: .venv/.dev  ## how many of our functions one guarded call runs through, against its limits
	$(RUN) benchmarks/call_count.py --check --files

bench: .venv/.dev  ## every benchmark, against its peers
	for name in $(BENCHMARKS); do echo "== $$name"; $(RUN) "benchmarks/$$name.py"; done

trials: .venv/.dev  ## break servers, processes and clocks: what is promised, and what was seen (ten minutes)
	for name in $(TRIALS); do $(RUN) "benchmarks/trials/$$name.py"; done

lock:  ## resolve requirements/*.txt again from pyproject.toml (wants the network)
	.ci/lock.sh "$(UV)"

clean:  ## remove the environments and every cache
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist

# The environments. The demo needs a third of the packages; both live in .venv, with the same versions.

.tools/bin/uv: requirements/uv.txt
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.venv/bin/python: | $(UV)
	$(UV) venv --quiet --python '>=3.11' .venv

.venv/.demo: requirements/demo.txt pyproject.toml | .venv/bin/python
	$(UV) pip install --quiet --python .venv/bin/python --require-hashes -r $<
	$(call install_costguard)
	touch $@

.venv/.dev: requirements/dev.txt pyproject.toml | .venv/bin/python
	$(UV) pip sync --quiet --python .venv/bin/python --require-hashes $<
	$(call install_costguard)
	touch $@ .venv/.demo

# Built with the hatchling of the lock: no second, unpinned download.
install_costguard = $(UV) pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
