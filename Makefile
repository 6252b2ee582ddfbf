# One door: `make` lists the targets; CI calls `make test`.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check unit bench bench-accuracy bench-accuracy-full clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + "; name another with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## set up, simulate a small archive, make its map and report
	$(BIN)/python -m geocube_ml.run catalogs/demo.yaml

# types are checked on one core while the tests begin
test: $(READY) ## set up, lint, types, import contracts, all tests
	$(MAKE) --no-print-directory --jobs=2 check unit

check: $(READY) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# A file's tests stay in one process, which starts its own servers; BLAS and torch take one thread
# in each.  Files run in their order, so that the long ones do not come last.
unit: $(READY) ## all tests, in a process for each core (four at most)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 \
	  --dist loadfile --no-loadscope-reorder

bench: $(READY) ## workloads beside a naive peer and a limit
	$(BIN)/python -m benchmarks

bench-accuracy: $(READY) ## models on published series beside the forest: half an hour
	$(BIN)/python -m benchmarks.accuracy

bench-accuracy-full: $(READY) ## the same with all models and more repeats: hours
	$(BIN)/python -m benchmarks.accuracy --full

clean: ## remove the environment and what the demo wrote
	rm -rf $(VENV) out
