# Every target installs what it needs into .venv and reuses it the next time. `make help` lists all targets.

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
INPLACE_ABN := $(VENV)/.stamp-inplace-abn
SCORE_PEERS := $(VENV)/.stamp-score-peers
TEST_PEERS := $(VENV)/.stamp-test-peers
NATIVE := $(shell find csrc -type f)
# Additional arguments of a target, for example: make test ARGS="tests/ops -k boxes"
ARGS ?=

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format docs overfit overfit-tasks bench bench-abn bench-memory bench-network bench-semantic-loss bench-data bench-predict bench-export bench-score bench-distributed bench-accuracy soak gpu-check fuzz sdist wheel wheel-cuda test-wheel clean

help: ## list all targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: $(STAMP) ## install the tested versions and this checkout (editable) into .venv
	@echo "$(VENV) is ready"

demo: $(STAMP) ## draw scenes, train, evaluate, predict: eight minutes on two cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/demo.sh

# conftest.py sets the number of processes and lets each compute with one thread. It also orders the files: long ones first,
# rather than by their number of tests.
test: $(STAMP) $(TEST_PEERS) ## run all tests except those marked manual; ARGS="…" goes to pytest
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not manual" $(ARGS)

lint: $(STAMP) ## check format, docstrings, spelling, types and import contracts
	@echo "ruff format" && $(BIN)/ruff format --check --quiet . || { echo "run make format"; exit 1; }
	@echo "ruff check" && $(BIN)/ruff check --quiet .
	@echo "typos" && $(BIN)/typos
	@echo "mypy" && $(BIN)/mypy
	@echo "import contracts" && $(BIN)/lint-imports --no-logo

format: $(STAMP) ## format the code and apply the fixes of ruff
	@$(BIN)/ruff check --quiet --fix-only . && $(BIN)/ruff format .

# Warnings, such as a broken link or a missing anchor, are errors.
docs: $(STAMP) ## build the documentation site into build/site: ten seconds
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open build/site/index.html, or with search: $(BIN)/python -m http.server --directory build/site"

overfit: $(STAMP) ## overfit eight real images: a quarter of an hour on two cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/overfit.sh

# Writes runs/overfit-TASK/evaluation.json. ARGS="FOLDER detection training.precision=float32" names the data set, tasks and
# settings.
overfit-tasks: $(STAMP) ## overfit eight real images in each of the four tasks
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/overfit_tasks.sh $(ARGS)

# Benchmarks write benchmarks/results/NAME.json; ARGS=--quick only shows that they run. The two variables of single benchmarks
# silence torch's profiler. Threads of quick runs, two of which share the cores, must not spin while they wait.
bench: $(STAMP) $(INPLACE_ABN) $(TEST_PEERS) $(SCORE_PEERS) ## run all benchmarks one after the other, on an idle machine; ARGS=--quick: two minutes
	@$(if $(filter --quick,$(ARGS)),OMP_WAIT_POLICY=passive) KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.all $(ARGS)

bench-abn: $(STAMP) $(INPLACE_ABN) ## in-place norm vs. BatchNorm and inplace-abn: five minutes on two idle cores
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.abn $(ARGS)

# ARGS="--network MODULE:CALLABLE" measures a network of yours and records nothing.
bench-memory: $(STAMP) ## memory and time of training: in place, recomputed and compiled: ten minutes on two idle cores
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.memory_forms $(ARGS)

# ARGS="--only PART" measures one part, and ARGS=--skip-bf16 leaves out bf16; both record nothing. With --update, the rows of
# the part replace those in the recorded file.
bench-network: $(STAMP) ## the whole network vs. its arithmetic, Mask R-CNN and Panoptic FPN, on an idle machine
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.network $(ARGS)

bench-semantic-loss: $(STAMP) ## the loss of the semantic head vs. upsampling all logits: two minutes
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.semantic_loss $(ARGS)

# ARGS="--coco FOLDER" or the variable SEAMSEG_COCO names a COCO panoptic folder; without one, its rows report that it is
# missing.
bench-data: $(STAMP) ## training samples vs. a plain Pillow pipeline: five minutes
	@$(BIN)/python -m benchmarks.data $(ARGS)

bench-predict: $(STAMP) ## prediction on a folder vs. the bare network: twenty minutes on two idle cores
	@$(BIN)/python -m benchmarks.predict $(ARGS)

# ARGS="--model runs/demo --data runs/demo-scenes" also measures the panoptic quality of a trained model.
bench-export: $(STAMP) $(TEST_PEERS) ## exported networks in ONNX Runtime and OpenVINO vs. PyTorch: five minutes on two idle cores
	@$(BIN)/python -m benchmarks.export $(ARGS)

bench-score: $(STAMP) $(SCORE_PEERS) ## scoring, fusion and arg-max vs. other libraries: ten minutes
	@KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR $(BIN)/python -m benchmarks.score $(ARGS)

bench-distributed: $(STAMP) ## count collectives and bytes of a training step on two ranks: five minutes
	@$(BIN)/python -m benchmarks.distributed $(ARGS)

# Finished parts stay in runs/accuracy and are not repeated. ARGS="--minutes 5" trains both sides for 5 minutes instead of
# the time of the demo.
bench-accuracy: $(STAMP) ## AP and PQ after equal training time vs. Mask R-CNN and Panoptic FPN: half an hour on two idle cores
	@$(BIN)/python -m benchmarks.accuracy $(ARGS)

soak: $(STAMP) ## 3000 steps of ranks with and without objects, 20 kills: half an hour on two cores
	@$(BIN)/python -m benchmarks.soak $(ARGS)

# The exit code is 2 without a GPU, and 1 if a step failed; the others run anyway. ARGS goes to benchmarks.gpu.
gpu-check: $(STAMP) ## build with CUDA, test and measure on a machine with one GPU: at most eight minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" KINETO_LOG_LEVEL=99 TORCH_CPP_LOG_LEVEL=ERROR bash scripts/gpu_check.sh $(ARGS)

# ARGS="--seed 1" draws other cases. A failure reports its number, and ARGS="--first NUMBER --cases 1" repeats it.
fuzz: $(STAMP) ## read 2000 damaged images, PNGs and JSON files without crash or hang: a minute on two cores
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz $(ARGS)

sdist: $(STAMP) ## build the source distribution in dist/
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/build_wheel.sh --sdist

# The tools are the tested ones of .venv, and the sources those of the source distribution, as in `pip wheel`.
wheel: $(STAMP) ## build the source distribution and the wheel for CPUs in dist/: three minutes on two idle cores
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/build_wheel.sh

wheel-cuda: $(STAMP) ## build the wheel with CUDA kernels in dist/; needs nvcc
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/build_wheel.sh --cuda

# ARGS="-k 3.13-newest" selects a combination. Versions of Python that are not installed are skipped.
test-wheel: $(STAMP) ## install the wheel of dist/ beside several versions of Python and torch: downloads 12 GB, deletes them
	@$(INSTALL) uv
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m manual tests/test_wheel.py $(ARGS)

clean: ## remove build products and caches; .venv and runs/ stay
	@rm -rf build dist ./*.egg-info seamseg/_native*.so $(STAMP)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# --- setup ----------------------------------------------------------------------------------------------------------

INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt

$(STAMP): pyproject.toml setup.py constraints.txt $(NATIVE) | $(BIN)/python
	@echo "installing torch and the build tools (5.6 GB the first time: a few minutes)"
	@$(INSTALL) torch torchvision setuptools wheel ninja
	@echo "installing seamseg, editable, with its native library"
	@$(INSTALL) --no-build-isolation --editable '.[dev,docs]'
	@touch $@

# inplace-abn, which bench-abn compares with. If it cannot be built, its rows report that and the others are measured.
$(INPLACE_ABN): constraints.txt benchmarks/inplace_abn.sh | $(STAMP)
	@bash benchmarks/inplace_abn.sh $(VENV) && touch $@ || true

# Programs that tests compare scores and submissions with. Tests skip if theirs is missing.
$(TEST_PEERS): tests/peers.sh | $(STAMP)
	@bash tests/peers.sh $(VENV) && touch $@ || true

# Further libraries that bench-score compares with. Rows report a missing library.
$(SCORE_PEERS): pyproject.toml constraints.txt | $(STAMP) $(TEST_PEERS)
	@$(INSTALL) torchmetrics hotcoco && touch $@

# Without Debian's python3-venv, a new environment has no pip; the system's pip then installs one into it.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "the tested versions require Python 3.11 or newer, and $(PYTHON) is older: pass another one, make PYTHON=…" >&2; exit 1; }
	@command -v "$${CXX:-c++}" > /dev/null || { \
		echo "the native library requires a C++ compiler: apt-get install g++, or pass yours, make CXX=…" >&2; exit 1; }
	@echo "creating $(VENV) with $(PYTHON)"
	@if $(PYTHON) -c 'import ensurepip' 2> /dev/null; then $(PYTHON) -m venv $(VENV); else \
		$(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $@ install --quiet pip || { \
		echo "cannot create a virtual environment: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }; fi
