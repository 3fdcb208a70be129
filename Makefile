# Two commands set up everything: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
RUN ?= runs/digits
# Two processes: what takes time is tracing and compiling, on one core each.
PYTEST ?= -n 2 --dist loadscope
# Without a wish of the user's, PyTorch comes as the build that the tests were tried with.
TORCH ?= torch==2.13.0
JUDGES = "torch-fidelity>=0.4" "clean-fid>=0.1.35"

.PHONY: demo test test-slow lint bench clean

demo: $(VENV)/.installed
	KERAS_BACKEND=tensorflow $(BIN)/kddim train digits --output $(RUN) --overwrite --kid-encoder random_conv --kid-images 500 --kid-steps 10 \
		--max-minutes 2.8
	KERAS_BACKEND=tensorflow $(BIN)/kddim generate $(RUN) --num-images 50 --output $(RUN)/digits.png --overwrite
	@echo
	@echo "Generated digits:   $(RUN)/digits.png"
	@echo "Loss and KID:       $(RUN)/history.png"
	@echo "While it trained:   $(RUN)/samples/"
	@echo "The model:          $(RUN)/model.keras"
	@echo "Next:               $(BIN)/kddim --help"

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	KERAS_BACKEND=tensorflow $(BIN)/python -m pytest $(PYTEST)
	KERAS_BACKEND=jax $(BIN)/python -m pytest $(PYTEST) -m "backend and not slow"
	KERAS_BACKEND=torch $(BIN)/python -m pytest $(PYTEST) -m "backend and not slow"

# What takes minutes: trains the demo's model and has a classifier judge its digits; runs the
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
	@# Debian keeps a part of venv in a package of its own; as root it can be had.
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
	@# Independent judges of the metrics. They ask for torchvision, which the tests do without.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(JUDGES)
	touch $@

bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/precision.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
