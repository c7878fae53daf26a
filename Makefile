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

# Tests wait for a fifth of their time, so they keep one worker more than there are processors busy.
TEST_WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

CORE_TESTS := $(addprefix lfp_pipeline_tests/,test_settings.py test_definitions.py defs ingest warehouse \
  operations stories cli/test_commands.py dagster_support)

# The tests that need a server, or a package of several hosts.
CLUSTER_TESTS = verification/hosts $(shell grep -lrE --include='test_*.py' \
  'importorskip|bucket_place|catalog_url|testing\.(cluster|lakes|postgres|redis|s3_server)' \
  lfp_pipeline_tests verification/histories)

VENV := .venv
BENCH_VENV := .venv-bench
CLUSTER_VENV := .venv-cluster
OLDEST_VENV := .venv-oldest
BIN := $(VENV)/bin
INSTANCE := .dagster_home

export DAGSTER_HOME := $(CURDIR)/$(INSTANCE)
export PYTHONWARNINGS := ignore::FutureWarning:click.core

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What users need. The stamps are older than the lock files after a change of these.
# An update of the system may remove the Python that an environment links to.
$(VENV)/bin/python $(BENCH_VENV)/bin/python $(CLUSTER_VENV)/bin/python: ;

$(VENV)/installed: requirements.lock requirements-uv.lock pyproject.toml $(VENV)/bin/python
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m scripts.install $(VENV) requirements.lock
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@$(PYTHON) -m scripts.install $(VENV) requirements-dev.lock
	@touch $@

$(BENCH_VENV)/installed: requirements.lock benchmarks/requirements.lock pyproject.toml \
  $(BENCH_VENV)/bin/python
	@$(PYTHON) -m scripts.install $(BENCH_VENV) requirements.lock benchmarks/requirements.lock
	@touch $@

$(CLUSTER_VENV)/installed: requirements-cluster.lock pyproject.toml $(CLUSTER_VENV)/bin/python
	@$(PYTHON) -m scripts.install $(CLUSTER_VENV) requirements-cluster.lock
	@touch $@

$(CLUSTER_VENV)/installed-dev: requirements-cluster-dev.lock $(CLUSTER_VENV)/installed
	@$(PYTHON) -m scripts.install $(CLUSTER_VENV) requirements-cluster-dev.lock
	@touch $@

.PHONY: ready ready-dev ready-cluster
ready-cluster: $(CLUSTER_VENV)/installed-dev
ready: $(VENV)/installed
	@mkdir -p data/inbox
ready-dev: ready $(VENV)/installed-dev

# Commands of lfp prepare the home, too, when they need it; those of dagster do not.
$(INSTANCE)/prepared: lfp_pipeline/templates/dagster.yaml | $(VENV)/installed
	@$(BIN)/python -m lfp_pipeline.cli.dagster_home

.PHONY: setup
setup: ready $(INSTANCE)/prepared ## Install what is needed into .venv and prepare the Dagster home
	@echo "$(VENV) and $(INSTANCE) are ready. Next: make demo, or make dev"

.PHONY: preflight
preflight: ready
	@$(BIN)/lfp check

.PHONY: sample
sample: preflight ## Make a sample file and drop it into the inbox (ROWS=500000 SEED=7)
	@$(BIN)/lfp sample --rows $(ROWS) --seed $(SEED)

.PHONY: rejects
rejects: export REJECTS_OF := $(value PARTITION)$(value DELIVERY)
rejects: ready ## Write rejected rows into data/rejects, to be fixed (PARTITION= or DELIVERY=)
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
status: ready ## Show what is pending, running or waiting, what needs attention, and the tables
	@$(BIN)/lfp status

.PHONY: verify
verify: ready ## Check the invariants of your data (FULL=true: also by a rebuild)
	@$(BIN)/lfp verify $(if $(filter true,$(FULL)),--full)

.PHONY: demo
demo: $(if $(CLUSTER),ready-cluster,preflight) ## Ingest a zipped file of 500,000 products, and show the tables (CLUSTER=1: on several hosts in small)
ifdef CLUSTER
	@$(CLUSTER_VENV)/bin/python -m examples.several_hosts
else
	@$(BIN)/lfp demo --rows $(ROWS) --seed $(SEED)
endif

.PHONY: dev
dev: ready ## Start the Dagster UI and daemon, with the inbox watched (PORT=3000)
	@$(BIN)/lfp dev --port $(PORT)

.PHONY: story
story: ready ## Two shops, a change in one, and the tables before and after (STAY=--stay goes on)
	@$(BIN)/python -m examples.two_feeds $(STAY)

.PHONY: test
test: ready-dev ## Run the tests (about 11 minutes on two cores)
	$(BIN)/python -m pytest -m "not slow" --numprocesses $(TEST_WORKERS) --dist worksteal

.PHONY: test-slow
test-slow: ready-dev ## Run all tests, the long ones too (half an hour on two cores)
	$(BIN)/python -m pytest --timeout 1800 --numprocesses $(TEST_WORKERS) --dist worksteal

# DuckDB's extensions for several hosts are packaged for DuckDB 1.5.5 only, so they have an environment
# of their own. Without PostgreSQL's server (Debian's package postgresql), most of these are skipped.
.PHONY: test-cluster
test-cluster: ready-cluster ## Run the tests of several hosts, on DuckDB 1.5.5 with DuckLake
	$(CLUSTER_VENV)/bin/python -m pytest -m "not slow" --numprocesses $(TEST_WORKERS) --dist worksteal $(CLUSTER_TESTS)

# The newest versions are those of the lock files, which `make test` has.
.PHONY: test-oldest
test-oldest: ## Run the tests of the core with the oldest dependencies that are allowed (needs uv)
	uv venv --quiet --clear --python $(PYTHON) $(OLDEST_VENV)
	uv pip compile --quiet --python $(OLDEST_VENV)/bin/python --resolution lowest-direct pyproject.toml \
	  --output-file $(OLDEST_VENV)/versions.txt
	uv pip install --quiet --python $(OLDEST_VENV)/bin/python --constraint $(OLDEST_VENV)/versions.txt \
	  --editable . $$(grep -oE '^(hypothesis|pytest|pytest-timeout|pytest-xdist)==[0-9.]+' requirements-dev.lock)
	$(OLDEST_VENV)/bin/python -m pytest -m "not slow" --numprocesses auto $(CORE_TESTS)

.PHONY: fuzz
fuzz: ready-dev ## Try random files, whole and damaged, against the oracle (MINUTES=30 SEED=)
	@$(BIN)/python -m verification.fuzz --minutes $(MINUTES) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED))

.PHONY: crash
crash: ready-dev ## Kill processes at every step and at any moment, and check the invariants (KILLS=1000 SEED=)
	@$(BIN)/python -m verification.crash --kills $(KILLS) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED)) --first $(FIRST)

.PHONY: soak
soak: ready-dev ## Let dagster dev work under load, with kills, and watch its memory and disk (MINUTES=60 SEED=)
	@$(BIN)/python -m verification.soak --minutes $(MINUTES) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED)) $(if $(FOLDER),--folder $(FOLDER))

# As root, each host has namespaces of its own; else all are on loopback.
.PHONY: hosts
hosts: ready-cluster ## Several hosts on one machine, disturbed in all ways (WHAT= MINUTES=10 TIMES= SEED= FIRST=0)
	@$(CLUSTER_VENV)/bin/python -m verification.hosts --what $(WHAT) --minutes $(MINUTES) \
	  --first $(FIRST) $(if $(TIMES),--times $(TIMES)) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED)) $(if $(FOLDER),--folder $(FOLDER))

.PHONY: histories
histories: $(if $(LAKE),ready-cluster,ready-dev) ## Do random things to random databases, against an oracle (BATCHES=10000 SEED= FIRST=0, LAKE=1)
	@$(if $(LAKE),$(CLUSTER_VENV)/bin/python,$(BIN)/python) -m verification.histories \
	  $(if $(LAKE),--lake) --batches $(BATCHES) --first $(FIRST) \
	  $(if $(filter command line,$(origin SEED)),--seed $(SEED))

.PHONY: check
check: ready-dev ## Lint, format, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: docs
docs: ready-dev ## Generate docs/settings.md and the picture of the architecture
	@$(BIN)/python -m docs.generate

.PHONY: bench
bench: $(BENCH_VENV)/installed ## Measure, beside a bare load and other tools (SIZES= WHAT= WORKS= PEERS= ROUNDS=)
	@$(BENCH_VENV)/bin/python -m benchmarks --what $(WHAT) --sizes $(SIZES) --works $(WORKS) \
	  --peers $(PEERS) --rounds $(ROUNDS)

.PHONY: bench-lake
bench-lake: ready-cluster ## Measure a lake beside a database in a file, on DuckDB 1.5 (ROUNDS=)
	@$(CLUSTER_VENV)/bin/python -m benchmarks.lake --rounds $(ROUNDS)

.PHONY: latency
latency: ready-dev ## Measure the seconds from a dropped file to its rows, beside empty jobs (WHAT= ROUNDS=)
	@$(BIN)/python -m benchmarks.latency --what $(WHAT) --rounds $(ROUNDS)

UV_LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-strip-extras \
  --no-annotate --no-header --quiet

# setuptools builds this project. All lock files have the same version of a package.
.PHONY: lock
lock: ## Resolve the dependencies again into the lock files (needs uv; UPGRADE=--upgrade)
	$(UV_LOCK) $(UPGRADE) pyproject.toml --extra dev --output-file requirements-dev.lock
	echo 'setuptools>=77' | $(UV_LOCK) pyproject.toml - --constraints requirements-dev.lock \
	  --output-file requirements.lock
	echo 'kubernetes-validate>=1.37' | $(UV_LOCK) $(UPGRADE) pyproject.toml - --extra dev --extra cluster \
	  --output-file requirements-cluster-dev.lock
	echo 'setuptools>=77' | $(UV_LOCK) pyproject.toml - --extra cluster \
	  --constraints requirements-cluster-dev.lock --output-file requirements-cluster.lock
	$(UV_LOCK) benchmarks/requirements.in --constraints requirements-dev.lock \
	  --output-file benchmarks/requirements.lock
	echo uv | $(UV_LOCK) $(UPGRADE) - --output-file requirements-uv.lock

.PHONY: clean
clean: ## Remove the installation and the history of runs, but not your data
	rm -rf $(VENV) $(BENCH_VENV) $(CLUSTER_VENV) $(OLDEST_VENV) $(INSTANCE) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache .hypothesis
