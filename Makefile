# Everything runs from here, with only Python and make installed. `make help` lists what there is.

PYTHON ?= python3
ROWS ?= 500000
SEED ?= 7
PORT ?= 3000

SIZES ?= 500000
PEERS ?= all
WORKS ?= all
WHAT ?= all
ROUNDS ?= 5

THOROUGH ?= false
FULL ?= $(THOROUGH)

MINUTES ?= 30
KILLS ?= 1000
DAYS ?= 30
BATCHES ?= 10000
FIRST ?= 0

VENV := .venv
BENCH_VENV := .venv-bench
BIN := $(VENV)/bin
INSTANCE := .dagster_home

export DAGSTER_HOME := $(CURDIR)/$(INSTANCE)
export PYTHONWARNINGS := ignore::FutureWarning:click.core

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The instance's tables are made here once: two processes that make them at the same time would clash.
$(INSTANCE)/prepared: dagster.yaml | $(VENV)/installed
	@mkdir -p $(INSTANCE) data/inbox
	@ln -sf ../dagster.yaml $(INSTANCE)/dagster.yaml
	@$(BIN)/python -m lfp_pipeline.cli.dagster_home
	@touch $@

.PHONY: setup
setup: $(VENV)/installed $(INSTANCE)/prepared ## Install everything into .venv and prepare the instance

.PHONY: preflight
preflight: setup
	@$(BIN)/python -m lfp_pipeline.cli.check

.PHONY: sample
sample: preflight ## Make a sample file and drop it into the inbox (ROWS=500000 SEED=7)
	@$(BIN)/python -m lfp_pipeline.cli.sample --rows $(ROWS) --seed $(SEED)

.PHONY: rejects
rejects: export REJECTS_OF := $(value PARTITION)$(value DELIVERY)
rejects: setup ## Write rejected rows into data/rejects, to be fixed (PARTITION= or DELIVERY=)
	@$(BIN)/lfp rejects -- "$$REJECTS_OF"

# What they did to the assets stays: that is in the index. Dagster's own deletion of runs forgets that,
# and leaves the files as large as they were.
.PHONY: trim-history
trim-history: ## Remove the logs of runs and sensors older than DAYS=30; runs and partitions still show
	@test -d $(INSTANCE)/history/runs || { echo "No history in $(INSTANCE)"; exit 1; }
	@find $(INSTANCE)/history/runs -name '????????-????-*.db*' -mtime +$(DAYS) -exec rm -f {} +
	@mkdir -p $(INSTANCE)/storage/__repository__
	@find $(INSTANCE)/storage -mindepth 1 -maxdepth 1 -name '????????-????-*' -mtime +$(DAYS) \
	  -exec rm -rf {} +
	@find $(INSTANCE)/storage/__repository__ -type f -mtime +$(DAYS) -exec rm -f {} +
	@echo "$(INSTANCE) has $$(du -sk $(INSTANCE) | cut -f1) KB"

.PHONY: status
status: setup ## Show what is pending, running or waiting, what needs attention, and the tables
	@$(BIN)/lfp status

.PHONY: verify
verify: setup ## Check the invariants of your data (FULL=true: also by a rebuild)
	@echo 'ops: {check_invariants: {config: {full: $(FULL)}}}' | \
	  $(BIN)/dagster job execute -m lfp_pipeline.definitions -j verify -c /dev/stdin

.PHONY: demo
demo: preflight ## Make a zipped file of 500,000 products, take it in, and show the tables
	@$(BIN)/python -m lfp_pipeline.cli.demo --rows $(ROWS) --seed $(SEED)

.PHONY: dev
dev: preflight ## Start the Dagster UI and daemon, with the inbox watched (PORT=3000)
	@echo "Starting the UI at http://localhost:$(PORT). Below is what runs say; Ctrl-C ends it."
	@$(BIN)/dagster dev --port $(PORT) --log-level warning

.PHONY: story
story: setup ## Two shops, a change in one, and the tables before and after (STAY=--stay goes on)
	@$(BIN)/python -m examples.two_feeds $(STAY)

.PHONY: test
test: setup ## Run the tests (about 11 minutes on two cores)
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist worksteal

.PHONY: test-slow
test-slow: setup ## Run all tests, the long ones too (half an hour on two cores)
	$(BIN)/python -m pytest --timeout 1800 --numprocesses auto --dist worksteal

.PHONY: fuzz
fuzz: setup ## Try random files, whole and damaged, against the oracle (MINUTES=30 SEED=)
	@$(BIN)/python -m verification.fuzz --minutes $(MINUTES) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED))

.PHONY: crash
crash: setup ## Kill processes at every step and at any moment, and check the invariants (KILLS=1000 SEED=)
	@$(BIN)/python -m verification.crash --kills $(KILLS) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED)) --first $(FIRST)

.PHONY: soak
soak: setup ## Let dagster dev work under load, with kills, and watch its memory and disk (MINUTES=60 SEED=)
	@$(BIN)/python -m verification.soak --minutes $(MINUTES) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED)) $(if $(FOLDER),--folder $(FOLDER))

.PHONY: histories
histories: setup ## Do random things to random databases, against an oracle (BATCHES=10000 SEED= FIRST=0)
	@$(BIN)/python -m verification.histories --batches $(BATCHES) --first $(FIRST) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED))

.PHONY: check
check: setup ## Lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(BENCH_VENV)/installed: requirements.lock benchmarks/requirements.lock pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock -r benchmarks/requirements.lock
	$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: docs
docs: setup ## Generate docs/settings.md and the picture of the architecture
	@$(BIN)/python -m docs.generate

.PHONY: bench
bench: $(BENCH_VENV)/installed ## Measure, beside a bare load and other tools (SIZES= WHAT= WORKS= PEERS= ROUNDS=)
	@$(BENCH_VENV)/bin/python -m benchmarks --what $(WHAT) --sizes $(SIZES) --works $(WORKS) \
	  --peers $(PEERS) --rounds $(ROUNDS)

.PHONY: lock
lock: ## Resolve the dependencies again into requirements.lock (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-annotate --no-header \
	  --quiet --output-file requirements.lock
	uv pip compile benchmarks/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-strip-extras --no-annotate --no-header \
	  --quiet --constraints requirements.lock --output-file benchmarks/requirements.lock

.PHONY: clean
clean: ## Remove the installation and the history of runs, but not your data
	rm -rf $(VENV) $(BENCH_VENV) $(INSTANCE) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache .hypothesis
