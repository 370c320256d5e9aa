# One command for each thing a developer does here; `make help` lists them.
#
# Variables on the command line reach the program as environment variables
# (`make run PLANT=double-claim`), and ARGS as its arguments (`make bench ARGS=--quick`).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

bin := .venv/bin
typescript := clients/typescript
node_bin := node_modules/.bin
python_sources := $(wildcard server clients/python tests demo)
shell_sources := .ci/run $(wildcard scripts/*.sh demo/*.sh clients/shell/*.sh deploy/*.sh)
typescript_cli := $(typescript)/dist/cli/main.js

checks := check-python check-types check-imports check-contract check-generated \
	check-typescript check-shell check-duplicates

.PHONY: help setup run cluster robustness serve test lint format generate baseline bench guests lock clean $(checks)

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what the lock files say into .venv and node_modules; nothing when it is there
	@scripts/setup.sh

# Built when it is older than its sources; one session of the demonstration is this program.
$(typescript_cli): $(shell find $(typescript)/src -name '*.ts') $(typescript)/tsconfig.build.json | setup
	@cd $(typescript) && $(node_bin)/tsc --project tsconfig.build.json
	@touch $@

# make answers 2 for whatever status a recipe fails with. Asked a question (-q) it answers 1,
# and still runs a recipe that is marked with +: so these exit 0 or 1 as the job does.
ifneq ($(filter run cluster robustness,$(MAKECMDGOALS)),)
MAKEFLAGS += -q
endif
run: ## Run the demonstration: a server and a fleet of agents at work
	+@scripts/run.sh $(ARGS)

cluster: ## Run it on three servers, etcd and NATS, and kill a server on the way
	+@scripts/run.sh --cluster $(ARGS)

robustness: ## Judge a fleet under faults (SECONDS, SEED, SETUP, FAULTS; ARGS=--help says more)
	+@scripts/setup.sh && GRPC_VERBOSITY=NONE $(bin)/python -m tests.robustness \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SETUP),--setup $(SETUP)) $(if $(FAULTS),--faults $(FAULTS)) $(ARGS)

serve: setup ## Start the server on its default ports
	@$(bin)/infrafabric serve $(ARGS)

# A file's tests share a server, so one worker has them all. In their order: the longest files are
# in tests/integration, and the short ones of tests/unit fill up what is left.
parallel := --numprocesses=auto --dist=loadfile --no-loadscope-reorder
test: setup $(typescript_cli) check-imports ## Run all tests: TypeScript, then Python (ARGS go to pytest)
	cd $(typescript) && $(node_bin)/vitest run
	$(bin)/pytest $(parallel) $(ARGS)

lint: setup $(checks) ## Run every static check (make -k lint: do not stop at the first failure)

format: setup ## Format the sources and repair what the linters can repair
	$(bin)/ruff check --fix-only $(python_sources)
	$(bin)/ruff format $(python_sources)
	$(typescript)/$(node_bin)/buf format --write proto
	cd $(typescript) && $(node_bin)/biome check --write .

generate: setup ## Generate the Python and TypeScript code of the contract in proto/
	scripts/generate.sh

baseline: setup ## Take the present contract as published; refused when it breaks the last one
	scripts/baseline.sh

bench: setup ## Measure the server on this machine (ARGS go to the benchmarks)
	@$(bin)/python -m tests.benchmarks $(ARGS)

guests: setup ## Compile the guests of docs/guests.md whose compilers `make test` does not have: Go, Rust
	$(bin)/pytest tests/toolchains/guests.py $(ARGS)

lock: setup ## Resolve the dependencies anew (ARGS=--upgrade: newest versions)
	scripts/lock.sh $(ARGS)

clean: ## Remove everything that setup and the tools have made
	rm -rf .venv $(typescript)/node_modules $(typescript)/dist build dist
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard server clients tests demo) -name __pycache__ -type d -prune -exec rm -rf {} +

check-python: setup
	$(bin)/ruff check $(python_sources)
	$(bin)/ruff format --check $(python_sources)

check-types: setup
	$(bin)/mypy $(python_sources)

check-imports: setup
	$(bin)/lint-imports --no-logo

check-contract: setup
	$(typescript)/$(node_bin)/buf lint
	$(typescript)/$(node_bin)/buf format --diff --exit-code proto
	scripts/baseline.sh --check

check-generated: setup
	scripts/generate.sh --check

check-typescript: setup
	cd $(typescript) && $(node_bin)/tsc --noEmit
	cd $(typescript) && $(node_bin)/biome check --error-on-warnings .

check-shell: setup
	$(bin)/shellcheck $(shell_sources)

check-duplicates: setup
	$(bin)/jscpd --no-colors --no-tips $(python_sources) $(typescript) scripts .ci
