# Two commands for everybody: `make demo` and `make test`. Both create .venv and install what they need.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: help demo test check bench system clean

help:
	@echo "make demo    two subnets and a router in namespaces: a service of one appears on the other"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy --strict, import-linter"
	@echo "make bench   the DHT beside the kademlia package, in one run"
	@echo "make clean   remove .venv and caches"

system:
	@sh tools/install_system.sh $(PYTHON)

$(STAMP): pyproject.toml | system
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: system $(STAMP)
	@$(PY) -m tools.demo

test: system $(STAMP) check
	@$(PY) -m pytest

check: $(STAMP)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(STAMP)
	@$(PY) -m tools.bench_dht

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
