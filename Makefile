# `make demo` and `make test` work from a fresh clone with Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo docs test test-slow test-beam test-external lint study-ks clean

$(VENV)/.installed: setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("tfunroll needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/pip install --quiet --editable ".[test]"
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable ".[test,docs]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python scripts/train.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest

test-slow: $(VENV)/.docs
	$(BIN)/python -m pytest -m slow

# Apache Beam is large, so neither `make test` nor CI installs it; they skip its tests.
test-beam: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable ".[test,beam]"
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_beam.py

# JAX and Tesseracts are as large; the tests of their adapters are skipped without them.
test-external: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable ".[test,external]"
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_external.py \
	    tests/test_external_training.py tests/test_worker_pool.py tests/test_own_system.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The site, in build/docs; a warning is an error.
docs: $(VENV)/.docs
	rm -rf docs/api  # pages of names that are gone
	CUDA_VISIBLE_DEVICES= $(BIN)/sphinx-build -W --keep-going -q -c docs . build/docs

study-ks: $(VENV)/.installed
	$(BIN)/python scripts/train.py --flagfile=scripts/ks_study.flags

clean:
	rm -rf $(VENV) build dist docs/api *.egg-info
