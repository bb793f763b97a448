# Few verbs, the same by hand and in the build. Each one sets up what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo up test check bench peers faults secrets lock

setup: $(VENV)/.ready

# The virtual environment is made anew when the locked requirements change.
$(VENV)/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "bnlab needs Python 3.11, 3.12 or 3.13; $$($(PYTHON) --version) was found. Name another: make PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(VENV): about 2 GB, a few minutes the first time."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## train the lesson's short experiment and look at it
	@$(BIN)/bnlab demo

up: setup  ## run the service here until Ctrl-C
	@$(BIN)/bnlab up

test: setup check  ## every check and every test
	@$(BIN)/python -m pytest

check: setup  ## style, types, arrows between the rooms, known weaknesses
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive api bnlab migrations models ops worker
	@$(BIN)/python -m ops.audit

bench: setup peers  ## measure
	@$(BIN)/python -m bench

# What bnlab is measured beside, each in an environment of its own: nothing else needs them.
peers: $(patsubst requirements/peers/%.txt,.peers/%/.ready,$(wildcard requirements/peers/*.txt))  ## install the peers of the measurements

.peers/%/.ready: requirements/peers/%.txt
	@$(PYTHON) -m venv --clear .peers/$*
	@.peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

faults: setup  ## break the running service on purpose and count what is lost
	@$(BIN)/python -m faults

# It needs no setup: a host that runs the containers has nothing but a Python.
secrets:  ## passwords for docker compose, once
	@$(PYTHON) -m ops.passwords

lock: setup  ## resolve the requirements anew
	@$(BIN)/uv pip compile pyproject.toml --extra worker --extra dev --universal --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --quiet -o requirements/dev.txt
	@$(BIN)/uv pip compile pyproject.toml --extra worker --universal --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --quiet -c requirements/dev.txt -o requirements/worker.txt
	@$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --quiet -c requirements/dev.txt -o requirements/api.txt
	@$(BIN)/uv pip compile pyproject.toml --extra gpu --python-platform x86_64-manylinux_2_28 --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --quiet -c requirements/dev.txt -o requirements/worker-gpu.txt
	@for peer in jax litserve bentoml mlserver; do \
		printf '%s\nnumpy\n' "$$peer" | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' --quiet -o requirements/peers/$$peer.txt; \
	done
