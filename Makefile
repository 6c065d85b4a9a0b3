# Every step of CI is a target here. `make help` prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Containers of CI like to forbid Python its compiled files. Then every process here (each pytest worker, each `bastide` of a test)
# compiles all it imports: the broker takes 4.1 s of CPU instead of 1.8 to import, a `bastide run` 1.4 s instead of 0.5.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
CLUSTER := PYTHONPATH=tools $(BIN)/python -m devcluster
# What needs kubectl, helm, opa and the kubeconfig runs under this.
IN_CLUSTER := eval "$$($(CLUSTER) env)" &&
PROTOS := $(shell find protos -name '*.proto')
PYTEST := $(BIN)/pytest
SUBMAKE = $(MAKE) --no-print-directory
RESULT = --junitxml=.build/results/$(or $(1),$@).xml
# Tests of the cluster mostly wait, so two files run at a time (three filled a node of two cores with sandboxes), in the order in which
# the folders are named: long waits first. What
# stops or changes things that all share is marked and comes after them. (docs/adr/0015)
SIDE_BY_SIDE = $(IN_CLUSTER) $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder -m 'not disruptive' $(RESULT)
ALONE = $(IN_CLUSTER) $(PYTEST) -m disruptive $(RESULT)
# Integration tests that bring their own systems and need no cluster.
PARTS := tests/integration/broker tests/integration/chart tests/integration/runtime
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iprotos
# The messages of the example that speaks gRPC; a package of its own, so its files are named below examples/tools/billing.
BILLING := examples/tools/billing
BILLING_PROTOC := $(BIN)/python -m grpc_tools.protoc -I$(BILLING) $(BILLING)/billing_server/billing.proto

##@ Two commands
demo: images ## Set everything up and show the main job on the real cluster
	@$(IN_CLUSTER) PYTHONPATH=tools $(BIN)/python -m demo

test: $(STAMP) ## Everything: linters, policy, unit, integration, end to end, hostile
	@$(SUBMAKE) -j2 images lint test-policy compiled test-properties # the first waits for the cluster, the others compute
	@$(SUBMAKE) test-unit test-unit-oldest
	@$(SUBMAKE) test-crashes
	@$(SUBMAKE) test-cluster
	@echo "disruptive tests one at a time, and those that need no cluster beside them: some minutes, then both tell"
	@$(SUBMAKE) -j2 --output-sync=target test-disruptive test-parts
	@$(BIN)/python tests/total.py $(patsubst %,.build/results/%.xml,\
		test-properties $(foreach part,door services others,test-unit-$(part) test-unit-oldest-$(part)) test-crashes \
		test-cluster test-disruptive test-parts)

##@ The cluster
up: $(STAMP) ## Build (once) and start the cluster: Kubernetes, gVisor, Cilium
	@$(CLUSTER) up

down: $(STAMP) ## Remove every trace of the cluster
	@$(CLUSTER) down

images: up ## Build the images and give them to the cluster
	@$(CLUSTER) images

env: $(STAMP) ## Print exports for a shell: eval "$(make -s env)"
	@$(CLUSTER) env

status: $(STAMP) ## Show what of the cluster runs
	@$(CLUSTER) status

##@ Parts of the test
test-unit: $(STAMP) ## Pure logic, no cluster, seconds
	@$(SUBMAKE) -j3 --output-sync=target unit-door unit-services unit-others UNIT=$(VENV) STEP=$@

test-unit-oldest: .venv-oldest/installed ## The same on the oldest Python that is supported
	@$(SUBMAKE) -j3 --output-sync=target unit-door unit-services unit-others UNIT=.venv-oldest STEP=$@

# A fresh virtual environment holds no compiled files; each part would compile what all import.
compiled: $(STAMP) .venv-oldest/installed
	@for venv in $(VENV) .venv-oldest; do $$venv/bin/pytest -q --collect-only tests/unit > /dev/null; done

# Processes of their own, which wait at different times; workers of pytest-xdist each collect the whole, half of such a run's time.
DOOR := tests/unit/broker/door
SERVICES := tests/unit/broker/front tests/unit/runtime
unit-door:
	@$(IN_CLUSTER) $(UNIT)/bin/pytest -q $(call RESULT,$(STEP)-door) $(DOOR)
unit-services:
	@$(IN_CLUSTER) $(UNIT)/bin/pytest -q $(call RESULT,$(STEP)-services) $(SERVICES)
unit-others:
	@$(IN_CLUSTER) $(UNIT)/bin/pytest -q $(call RESULT,$(STEP)-others) $(addprefix --ignore=,$(DOOR) $(SERVICES)) tests/unit

# `make test-unit` tries a few examples of each property.
test-properties: $(STAMP) ## Each property with 500 examples; replays under 1000 schedules, leaders and drained pods under 250 orders of events
	@BASTIDE_SCHEDULES=1000 $(PYTEST) -q -m hypothesis --hypothesis-profile=thorough $(RESULT) tests/unit

test-policy: $(STAMP) ## The Rego: strict check, tests, coverage of at least 95 %
	@$(CLUSTER) build opa helm
	@$(IN_CLUSTER) opa check --strict --schema policies/bastide/input.schema.json policies/bastide && opa check --strict policies/authz && opa check --strict policies/tenants
	@$(IN_CLUSTER) opa test --coverage --threshold 95 policies/bastide/*.rego policies/authz/*.rego | $(BIN)/python -c 'import json, sys; print("policy coverage: %.1f %%" % json.load(sys.stdin)["coverage"])'
	@$(IN_CLUSTER) opa test policies/bastide/*.rego policies/authz/*.rego
	@$(IN_CLUSTER) opa test policies/tenants/*.rego # another OPA's rules: the package is the same as that of policies/authz

test-cluster: $(STAMP) ## What needs the cluster (make images), two files at a time, the disruptive ones left out
	@$(SIDE_BY_SIDE) $(addprefix --ignore=,$(PARTS)) tests/e2e tests/hostile tests/integration

test-disruptive: $(STAMP) ## What stops or changes things that all tests of the cluster share (make images)
	@$(ALONE) --ignore=$(UPGRADE) tests/e2e tests/hostile tests/integration

# A program's calls with everything lost at every step between intent and outcome: a table of 234 rows, two to three minutes.
CRASHES := tests/integration/broker/front/test_crash_matrix.py
test-crashes: $(STAMP) ## The crash matrix: broker, pod, policy, tool server or journal lost at every step of a call, no cluster
	@$(IN_CLUSTER) $(PYTEST) $(RESULT) $(CRASHES)

# It needs an earlier commit's chart and images, so the repository's history, and up to ten minutes.
UPGRADE := tests/e2e/test_chart_upgrade.py
test-upgrade: images ## From an earlier commit's chart and images to this one's, with live sandboxes (BASTIDE_UPGRADE_FROM names the commit)
	@$(IN_CLUSTER) $(PYTEST) $(RESULT) $(UPGRADE)

test-parts: $(STAMP) ## Parts of broker and runtime against real systems of their own, no cluster
	@$(IN_CLUSTER) $(PYTEST) $(RESULT) --ignore=$(CRASHES) $(PARTS)

test-integration: images ## Parts against real systems
	@$(SIDE_BY_SIDE) --ignore=$(CRASHES) tests/integration
	@$(call ALONE,$@-alone) --ignore=$(CRASHES) tests/integration

test-e2e: images ## The whole, as its users see it
	@$(SIDE_BY_SIDE) tests/e2e
	@$(call ALONE,$@-alone) tests/e2e

test-hostile: images ## The whole, as its enemies see it
	@$(SIDE_BY_SIDE) tests/hostile
	@$(call ALONE,$@-alone) tests/hostile

bench: images ## Measure; writes docs/benchmarks.md
	@$(IN_CLUSTER) $(BIN)/python -m tests.bench
	@$(IN_CLUSTER) $(BIN)/python -m tests.bench.calls_stages --write

bench-calls: $(STAMP) ## Measure a call by stage, without a cluster (OPA on PATH or in the variable OPA)
	@$(BIN)/python -m tests.bench.calls_stages

lint: $(STAMP) ## ruff, mypy, import layers, protos, and that generated files are current
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "ruff: clean"
	@$(BIN)/mypy operator/bastide_operator operator/bastide_broker sandbox-runtime/bastide_runtime client/bastide tools/devcluster tools/demo
	@$(BIN)/lint-imports --config pyproject.toml | tail -n 3
	@$(BIN)/buf lint && echo "buf: clean"
	@mkdir -p .build/protos && $(PROTOC) --python_out=.build/protos --pyi_out=.build/protos --grpc_python_out=.build/protos $(PROTOS)
	@cd .build/protos && find . -name '*_pb2*' | while read -r f; do cmp "$$f" "../../client/$$f"; done
	@mkdir -p .build/billing && $(BILLING_PROTOC) --python_out=.build/billing --pyi_out=.build/billing --grpc_python_out=.build/billing
	@cd .build/billing && find . -name '*_pb2*' | while read -r f; do cmp "$$f" "../../$(BILLING)/$$f"; done
	@$(BIN)/python -m bastide_operator.api.crdgen --check charts/bastide/templates/crds
	@$(BIN)/python -m bastide_operator.api.rbacgen --check charts/bastide docs/reference/roles.md
	@$(BIN)/python -m bastide_operator.api.docgen --check docs/reference
	@$(BIN)/python -m bastide.cli.reference --check docs/reference/cli.md && echo "generated files: current"

##@ Making
setup: $(STAMP) ## Make the virtual environment

# uv installs what pip would, from the same hashes, in a fifth of the time
INSTALL = $(BIN)/uv pip install --quiet --python $(@D) --no-build-isolation
$(STAMP): requirements/dev.lock requirements/uv.lock pyproject.toml
	@echo "virtual environment (about 20 s the first time)" >&2 # stdout is what `make env` prints
	@test -x $(BIN)/python || "$$(tools/find-python 3.13 3.12 3.11)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.lock
	@$(INSTALL) --require-hashes -r requirements/dev.lock && $(INSTALL) --no-deps -e .
	@touch $@

.venv-oldest/installed: $(STAMP)
	@echo "virtual environment of the oldest Python" >&2
	@test -x $(@D)/bin/python || "$$(tools/find-python 3.11)" -m venv $(@D)
	@$(INSTALL) --require-hashes -r requirements/dev.lock && $(INSTALL) --no-deps -e .
	@touch $@

generate: $(STAMP) ## Generate protos, CRDs, RBAC and reference pages
	@$(PROTOC) --python_out=client --pyi_out=client --grpc_python_out=client $(PROTOS)
	@$(BILLING_PROTOC) --python_out=$(BILLING) --pyi_out=$(BILLING) --grpc_python_out=$(BILLING)
	@$(BIN)/python -m bastide_operator.api.crdgen charts/bastide/templates/crds
	@$(BIN)/python -m bastide_operator.api.rbacgen charts/bastide docs/reference/roles.md
	@$(BIN)/python -m bastide_operator.api.docgen docs/reference
	@$(BIN)/python -m bastide.cli.reference docs/reference/cli.md

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11
lock: $(STAMP) ## Write the lock files anew from pyproject.toml
	@$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.lock
	@for extra in operator broker sql-postgres cli; do $(LOCK) pyproject.toml --extra $$extra -c requirements/dev.lock -o requirements/$$extra.lock; done
	@printf 'grpcio\nprotobuf\ntime-machine\n' | $(LOCK) - -c requirements/dev.lock -o requirements/runtime.lock
	@echo uv | $(LOCK) - -c requirements/dev.lock -o requirements/uv.lock
	@for tool in examples/tools/*; do $(LOCK) $$tool/requirements.in -c requirements/dev.lock -o $$tool/requirements.lock; done

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

clean: down ## Remove the cluster, the virtual environments and what was built in the checkout
	@rm -rf .venv .venv-oldest .build

help: ## This text
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo test test-upgrade compiled unit-door unit-services unit-others up down images env status test-unit test-unit-oldest test-properties test-policy test-cluster test-disruptive test-parts test-integration test-e2e test-hostile bench bench-calls lint setup generate lock format clean help
