# `make demo` and `make test` each install everything they need.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN ?= runs/digits
# The flowers of the demo come from a model in the package.
PRESET = kddim/presets/flowers
FLOWERS = $(dir $(RUN))flowers.png
# Two processes, since tracing and compiling use one core each.
PYTEST ?= -n 2 --dist loadscope --no-loadscope-reorder
# Version of PyTorch that the tests were run with. Set TORCH to install another build.
TORCH ?= torch==2.13.0
# TensorFlow's oneDNN kernels, which it leaves off where the processor has no AVX512. `import kddim`
# turns them on as well, but not where Keras is imported before it.
export TF_ENABLE_ONEDNN_OPTS ?= 1
JUDGES = "torch-fidelity>=0.4" "clean-fid>=0.1.35"

.PHONY: demo test test-slow lint bench faults clean

demo: $(VENV)/.installed
	KERAS_BACKEND=tensorflow $(BIN)/kddim train digits --output $(RUN) --overwrite --kid-encoder random_conv --kid-images 500 --kid-steps 10 \
		--max-minutes 2.8
	KERAS_BACKEND=tensorflow $(BIN)/kddim generate $(RUN) --num-images 50 --output $(RUN)/digits.png --overwrite
	@test ! -f $(PRESET)/weights.npz || \
		KERAS_BACKEND=tensorflow $(BIN)/kddim generate $(PRESET) --num-images 40 --output $(FLOWERS) --overwrite
	@echo
	@echo "Generated digits:   $(RUN)/digits.png"
	@echo "Loss and KID:       $(RUN)/history.png"
	@echo "While it trained:   $(RUN)/samples/"
	@echo "The model:          $(RUN)/model.keras"
	@test ! -f $(PRESET)/weights.npz || echo "Flowers of a preset: $(FLOWERS)"
	@echo "Next:               $(BIN)/kddim --help"

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest $(PYTEST)
	KERAS_BACKEND=jax $(BIN)/python -m pytest $(PYTEST) -m "backend and not slow"
	KERAS_BACKEND=torch $(BIN)/python -m pytest $(PYTEST) -m "backend and not slow"

# Tests that take minutes: train the demo's model and judge its digits with a classifier; run the
# Inception of 2015 on every backend.
test-slow: $(VENV)/.installed-test
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest -m slow
	KERAS_BACKEND=jax $(BIN)/python -m pytest -m "backend and slow"
	KERAS_BACKEND=torch $(BIN)/python -m pytest -m "backend and slow"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(BIN)/python:
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version' || \
		{ echo "kddim needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@# On Debian, venv needs the package python3-venv. Install it if we are root.
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); test "$$(id -u)" = 0 && \
		echo "installing Debian's python3-venv" && apt-get update -qq && \
		apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); \
		echo "Python's venv is missing. On Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[tensorflow]"
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[tensorflow,jax,tfds,test]"
	@# Independent implementations of the metrics. They depend on torchvision, which the tests
	@# do not need.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(JUDGES)
	touch $@

# Attacks on the whole package, for at most 55 minutes: build/faults.md is the table of
# docs/reliability.md. `python -m faults --help` has filters, and replays one attack.
faults: $(VENV)/.installed-test
	$(BIN)/python -m faults --seed 0 --minutes 55 --output build/faults.md

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/speed.py
	KERAS_BACKEND=tensorflow $(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/runs.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
