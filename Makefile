# Every target builds what it needs: a fresh machine has Python 3.11 and make.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-demo
READY_DEV := $(VENV)/.ready-dev
# Many tests wait for servers of their own: more of them than cores may run at once.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))

.PHONY: demo test lint bench clean

demo: $(READY)
	$(BIN)/python -m demo_app --port $(PORT)

test: lint
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

lint: $(READY_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY_DEV)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-bench .coverage* .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'

$(READY): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e '.[all]'
	@touch $@

$(READY_DEV): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e '.[all]' --group dev
	@touch $@
