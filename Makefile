# make demo: the whole pipeline on the built-in corpus, from speech to a table of word error rates.
# make test: the suite.   make lint: ruff, the type checker, the layer test.

VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= work/demo

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	PATH="$(abspath $(BIN)):$$PATH" recipes/synth/run.sh --work $(DEMO)

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) work
