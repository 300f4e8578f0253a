# The only commands anyone needs. Each sets up what it uses (`.venv`, pinned by constraints.txt) and nothing twice.
#   make demo [DATA=path]   the main job on simulated bars, or on the bars under DATA
#   make test               Rust and Python tests; slow suites at 1/50 size
#   make soak [JOBS=2]      the slow suites whole, Miri and cargo-fuzz where installed; goes on where it was stopped
#   make bench              compare outputs, then speed, with the peers; fails below bench/floors.toml
#   make bench-backfill     Parquet -> Parquet over a simulated lake, with pyarrow, pandas, polars and Dask beside it
#   make bench-serve        tick to signal, and predictions over loopback with the libraries' own packages beside them
#   make lint               formatters, clippy, ruff, mypy, stub and docs drift
#   make docs               write the generated pages
#   make wheel              a wheel and an sdist under dist/
#   make venv               just the environment      make clean   remove all that was built

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export PATH := $(HOME)/.cargo/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.stamp
MODULE_SRC := Cargo.toml $(wildcard Cargo.lock) pyproject.toml \
	$(shell find rust -path '*/target' -prune -o \( -name '*.rs' -o -name 'Cargo.toml' -o -name '*.toml' \) -print 2>/dev/null)
SETS := $(wildcard python/qtfeat/sets/*.toml)
FUZZ_SECONDS ?= 600
BENCH ?= --write

.PHONY: help demo test soak bench bench-backfill bench-serve lint docs wheel venv clean

help:
	@sed -n 's/^#   //p' Makefile

# --- set-up -----------------------------------------------------------------------------------------------------------

$(STAMP)-venv:
	@bash tools/find_python.sh > /dev/null
	@bash tools/need_cargo.sh
	@echo "making $(VENV)"
	@"$$(bash tools/find_python.sh)" -m venv $(VENV)
	@touch $@

# pip only where the requirements changed
$(STAMP)-deps-%: pyproject.toml constraints.txt tools/extras.py | $(STAMP)-venv
	@echo "installing: $(subst +, ,$*)"
	@$(PY) tools/extras.py $(subst +, ,$*) > $@.txt
	@$(PY) -m pip install --quiet -r $@.txt
	@touch $@

# cargo only where a source changed; Python sources are used in place
$(STAMP)-module: $(MODULE_SRC) | $(STAMP)-deps-build
	@bash tools/need_cargo.sh
	@echo "building the extension module (release; the first time takes some minutes)"
	@$(BIN)/maturin develop --release > $@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@

venv: $(STAMP)-module $(STAMP)-deps-cli+train+plot $(STAMP)-deps-serve+redis+backfill+dask+tune $(STAMP)-deps-dev

# --- the commands -----------------------------------------------------------------------------------------------------

demo: $(STAMP)-module $(STAMP)-deps-cli+train+plot
	@$(BIN)/qtfeat run $(if $(DATA),--data "$(DATA)")

test: venv
	@bash tools/need_cargo.sh
	@bash tools/need_chromium.sh
	cargo test -p qtfeat-core --quiet
	$(PY) -m pytest tests

soak: venv
	@bash tools/need_cargo.sh
	$(PY) tools/soak.py $(SOAK) $(if $(FUZZ_SECONDS),--fuzz-seconds $(FUZZ_SECONDS)) $(if $(JOBS),--jobs $(JOBS))

bench: venv $(STAMP)-deps-bench
	@$(PY) bench/report.py $(BENCH)

bench-backfill: venv $(STAMP)-deps-bench
	@$(PY) bench/backfill.py $(BACKFILL)

bench-serve: venv
	@$(PY) bench/serve.py $(SERVE)

lint: venv
	@bash tools/need_cargo.sh --components
	cargo fmt --all --check
	PYO3_PYTHON="$(CURDIR)/$(PY)" cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PY) -m mypy.stubtest qtfeat._core qtfeat.ta
	$(PY) tools/features_page.py --check
	$(PY) tools/parity_page.py --check
	$(PY) tools/ta_stub.py --check
	$(PY) tools/dashboard.py --check

docs: venv
	@$(PY) tools/features_page.py
	@$(PY) tools/parity_page.py
	@$(PY) tools/ta_stub.py
	@$(PY) tools/dashboard.py

wheel: $(STAMP)-deps-build
	@bash tools/need_cargo.sh
	$(BIN)/maturin build --release --sdist --out dist
	ls -l dist

clean:
	rm -rf target dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find python tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/qtfeat/_core*.so python/qtfeat/_core*.pyd
