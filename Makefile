# The commands of the project. `make help` lists them.
# Everything is built under CARGO_TARGET_DIR, by default in the user's cache, so that a fresh clone reuses
# the dependencies that an older one has compiled.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

WEIR_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/weir
export WEIR_CACHE
CARGO_TARGET_DIR ?= $(WEIR_CACHE)/target
export CARGO_TARGET_DIR
# rustup puts cargo here, and a shell that was open before does not know it yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# What the tests find their tools by; `make setup-test` fills the folders.
TEST_ENV := WEIR_TEST_PYTHON=$(WEIR_CACHE)/clients/py/bin/python \
            WEIR_TEST_NODE_MODULES=$(WEIR_CACHE)/clients/node/node_modules \
            WEIR_TEST_PROMTOOL=$(WEIR_CACHE)/clients/bin/promtool

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

##### Use

.PHONY: run
run: setup-run ## build and serve the demo on http://127.0.0.1:8080, with its data in ./data
	@cargo build --locked --package weir
	@exec "$(CARGO_TARGET_DIR)/debug/weir" serve --demo

.PHONY: build
build: setup-run ## build the release binary
	@cargo build --locked --release --package weir
	@echo "$(CARGO_TARGET_DIR)/release/weir"

.PHONY: build-pgo
build-pgo: setup-bench setup-test setup-coverage ## build it with a profile of its own load: two builds of everything
	@scripts/build-pgo.sh

##### Check

.PHONY: test
test: setup-test ## run every test on both stores, with private PostgreSQL and Redis servers
	@$(TEST_ENV) scripts/test.sh

.PHONY: faults
faults: setup-test ## the same tests, with the promised times and the fault windows at full length
	@$(TEST_ENV) WEIR_FAULTS=full scripts/test.sh

SOAK_SECONDS ?= 3600
.PHONY: soak
soak: setup-test ## SOAK_SECONDS (an hour) at half load, streams and aborts mixed, on both stores: nothing may grow
	@$(TEST_ENV) WEIR_SOAK_SECONDS=$(SOAK_SECONDS) scripts/test-stores.sh cargo test --locked -p weir --test api -- soak:: --nocapture

.PHONY: lint
lint: setup-lint ## formatting, clippy, licences, bans, advisories, unused dependencies, scripts, deploy files
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- --deny warnings
	@cargo deny --log-level warn --workspace --locked check --hide-inclusion-graph licenses bans sources
	@scripts/check-advisories.sh
	@cargo machete
	@if command -v shellcheck >/dev/null; then shellcheck --shell=bash scripts/*.sh .ci/run; fi
	@"$(WEIR_CACHE)/lint/bin/python" scripts/check-deploy.py

.PHONY: coverage
coverage: setup-test setup-coverage ## run every test and fail under 80 % of lines; report in the target folder
	@eval "$$(scripts/llvm-tools.sh)"; \
	cargo llvm-cov clean --workspace --profraw-only; \
	$(TEST_ENV) scripts/test-stores.sh cargo llvm-cov --workspace --locked --no-report; \
	cargo llvm-cov report --html --output-dir "$(CARGO_TARGET_DIR)/coverage"; \
	cargo llvm-cov report --summary-only --fail-under-lines 80

FUZZ_SECONDS ?= 600
export FUZZ_SECONDS
.PHONY: fuzz
fuzz: setup-fuzz ## fuzz each reader for FUZZ_SECONDS; what breaks one is in artifacts/ beside its targets
	@scripts/fuzz.sh server/dialect observer ask multipart sieve
	@scripts/fuzz.sh server spool resources head answer

# The stores share the core of client and vendor, not that of what is measured.
PIN_OTHER := $(shell [ "$$(nproc)" -ge 2 ] && command -v taskset >/dev/null && echo taskset --cpu-list 1)
.PHONY: bench
bench: setup-bench ## measure direct, nginx, HAProxy and weir side by side; ONLY=throughput,… some sections; PGO=path a binary of build-pgo too; writes loadtest/RESULTS.md
	@cargo build --release --locked --package weir --package weir-upstream --package weir-streams
	@$(PIN_OTHER) scripts/test-stores.sh python3 loadtest/bench.py $(if $(ONLY),--only "$(ONLY)") $(if $(PGO),--pgo "$(PGO)")

.PHONY: bench-parts
bench-parts: setup-run ## measure the parts of a request by themselves: parser, admission, settlement
	@cargo bench --locked -p weir --bench hot

.PHONY: bench-booking
bench-booking: setup-test ## measure how many events a second the books take, on SQLite and PostgreSQL
	@scripts/test-stores.sh cargo bench --locked -p weir --bench booking

.PHONY: bench-log
bench-log: setup-test ## measure pages of the request log over ten million events on PostgreSQL, which takes 12 GB of memory
	@WEIR_TEST_POSTGRES_OPTIONS="-c shared_buffers=12GB" scripts/test-stores.sh cargo bench --locked -p weir --bench log

.PHONY: profile
profile: setup-profile ## load weir as `make bench` does, and draw where its time goes: flame.svg in the target folder
	@cargo build --profile profiling --locked --package weir --package weir-upstream
	@python3 loadtest/profile.py

##### Prepare

.PHONY: setup setup-run setup-test setup-lint setup-coverage setup-bench setup-peers setup-fuzz setup-profile
setup: setup-run setup-test setup-lint setup-coverage setup-bench setup-fuzz setup-profile ## install all that the other targets need
setup-run: ## ... only what building and running needs
	@scripts/setup.sh run
setup-test: ## ... only what the tests need
	@scripts/setup.sh run test
setup-lint: ## ... only what lint needs
	@scripts/setup.sh run lint
setup-coverage: ## ... only what coverage needs
	@scripts/setup.sh run coverage
setup-bench: ## ... only what the benchmark needs
	@scripts/setup.sh run bench
setup-peers: ## ... LiteLLM and Portkey, which `make bench` measures where they are installed
	@scripts/setup.sh peers
setup-fuzz: ## ... only what fuzzing needs
	@scripts/setup.sh run fuzz
setup-profile: ## ... only what the profile needs
	@scripts/setup.sh run bench profile

##### Tidy

.PHONY: fmt
fmt: setup-run ## format the code
	@cargo fmt --all

.PHONY: clean
clean: ## remove what was built; the demo's ./data stays
	@cargo clean
