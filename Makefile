# Every target sets up what it needs in .venv and reuses it the next time. `make help` lists them.

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
INPLACE_ABN := $(VENV)/.stamp-inplace-abn
SCORE_PEERS := $(VENV)/.stamp-score-peers
TEST_PEERS := $(VENV)/.stamp-test-peers
NATIVE := $(shell find csrc -type f)
# More arguments for a test run: make test ARGS="tests/ops -k boxes"
ARGS ?=

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format overfit bench-abn bench-data bench-predict bench-score bench-distributed soak fuzz sdist clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: $(STAMP) ## install the tested versions and this checkout, editable, into .venv
	@echo "$(VENV) is ready"

demo: $(STAMP) ## make scenes, train, evaluate, predict: ten minutes on two cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

# One thread per process and a process per core: threads inside small tests only cost time. Files in their order: that of
# conftest.py, the long ones first, and not by their number of tests.
test: $(STAMP) $(TEST_PEERS) ## all tests but those marked manual; ARGS="…" goes to pytest
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not manual" $(ARGS)

lint: $(STAMP) ## format, lint, types and import contracts
	@echo "ruff format" && $(BIN)/ruff format --check --quiet . || { echo "run make format"; exit 1; }
	@echo "ruff check" && $(BIN)/ruff check --quiet .
	@echo "mypy" && $(BIN)/mypy
	@echo "import contracts" && $(BIN)/lint-imports --no-logo

format: $(STAMP) ## write the code as `make lint` wants it
	@$(BIN)/ruff check --quiet --fix-only . && $(BIN)/ruff format .

overfit: $(STAMP) ## learn eight real images by heart: a quarter of an hour on two cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/overfit.sh

# Results: benchmarks/results/NAME.json; ARGS=--quick only shows that it runs. What the two variables hide is chatter of
# torch's profiler.
bench-abn: $(STAMP) $(INPLACE_ABN) ## the norm beside BatchNorm and inplace-abn: five minutes on two quiet cores
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.abn $(ARGS)

# ARGS="--coco FOLDER", or the variable SEAMSEG_COCO, names images of COCO panoptic; without them their rows say so.
bench-data: $(STAMP) ## training samples beside the plain Pillow config: five minutes
	@$(BIN)/python -m benchmarks.data $(ARGS)

bench-predict: $(STAMP) ## a folder of images beside the bare network: twenty minutes on two quiet cores
	@$(BIN)/python -m benchmarks.predict $(ARGS)

bench-score: $(STAMP) $(SCORE_PEERS) ## scoring of files and maps, fusion and arg-max beside their peers: ten minutes
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.score $(ARGS)

bench-distributed: $(STAMP) ## collectives and bytes of a training step on two ranks, counted: five minutes
	@$(BIN)/python -m benchmarks.distributed $(ARGS)

soak: $(STAMP) ## 3000 steps of ranks with and without objects, 20 kills: half an hour on two cores
	@$(BIN)/python -m benchmarks.soak $(ARGS)

# ARGS="--seed 1" takes other cases; a failure says its number, and ARGS="--first NUMBER --cases 1" repeats it.
fuzz: $(STAMP) ## 2000 damaged images, PNGs and JSON files, none may crash or hang a reader: a minute on two cores
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz $(ARGS)

sdist: $(STAMP) ## source distribution in dist/
	@$(BIN)/python -c 'from setuptools.build_meta import build_sdist; print("dist/" + build_sdist("dist"))' | tail -n 1

clean: ## remove what was built and cached; .venv and runs/ stay
	@rm -rf build dist ./*.egg-info seamseg/_native*.so $(STAMP)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------------------------

INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

$(STAMP): pyproject.toml setup.py constraints.txt $(NATIVE) | $(BIN)/python
	@echo "installing torch and the build tools (5.6 GB the first time: a few minutes)"
	@$(INSTALL) torch torchvision setuptools wheel ninja
	@echo "installing seamseg, editable, with its native library"
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@touch $@

# A peer of bench-abn. Where it cannot be built its rows say so, and the others are measured.
$(INPLACE_ABN): constraints.txt benchmarks/inplace_abn.sh | $(STAMP)
	@bash benchmarks/inplace_abn.sh $(VENV) && touch $@ || true

# What tests compare scores and submissions with. Tests whose peer is missing skip and say so.
$(TEST_PEERS): tests/peers.sh | $(STAMP)
	@bash tests/peers.sh $(VENV) && touch $@ || true

# Peers of bench-score beyond those of the tests. A row whose peer is missing says so.
$(SCORE_PEERS): pyproject.toml constraints.txt | $(STAMP) $(TEST_PEERS)
	@$(INSTALL) torchmetrics hotcoco && touch $@

# Without Debian's python3-venv a new environment has no pip; the machine's own pip then installs one into it.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "the tested versions need Python 3.11 or newer and $(PYTHON) is none: name one, make PYTHON=…" >&2; exit 1; }
	@command -v "$${CXX:-c++}" > /dev/null || { \
		echo "the native library needs a C++ compiler: apt-get install g++, or name yours, make CXX=…" >&2; exit 1; }
	@echo "making $(VENV) with $(PYTHON)"
	@if $(PYTHON) -c 'import ensurepip' 2> /dev/null; then $(PYTHON) -m venv $(VENV); else \
		$(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $@ install --quiet pip || { \
		echo "cannot make a virtual environment: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }; fi
