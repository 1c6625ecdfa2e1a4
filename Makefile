# Exactly two commands set everything up: `make run` and `make test`. Each makes .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export UV_PYTHON := $(CURDIR)/$(BIN)/python

.PHONY: run test cover check format soak bench docs protos clean

run: $(VENV)/.ready ## The service on embedded defaults behind a real Envoy
	@$(BIN)/weir run

test: $(VENV)/.ready ## Every test, with a real redis-server and a real Envoy
	@deploy/install-servers
	$(BIN)/pytest -n auto $(PYTEST_ARGS)

cover: $(VENV)/.ready ## Every test, and what they leave untried of the code
	@deploy/install-servers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto $(PYTEST_ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include 'ratelimit/*,serving/*,weir/*' --skip-covered --show-missing --fail-under 100
	$(BIN)/coverage report --include 'semcache/*' --skip-covered --show-missing --fail-under 99

check: $(VENV)/.ready ## The quick loop: format, lint, types, import contracts, unit tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 tests/unit tests/house

format: $(VENV)/.ready ## Rewrite what the formatter and the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: $(VENV)/.ready ## Long forms of the tests, and those by clients of other languages
	@deploy/install-servers soak
	$(BIN)/pytest -m soak --timeout 3600 tests

bench: $(VENV)/.ready ## Ratios in one run; JSON is kept in bench/results
	@deploy/install-servers bench
	$(BIN)/python -m bench

docs: $(VENV)/.ready ## Write what is generated from the code
	$(BIN)/python -m docs.generate

protos: $(VENV)/.ready ## Compile protos/ again
	$(BIN)/python hatch_build.py

clean: ## Remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.ready: pyproject.toml constraints.txt hatch_build.py $(shell find protos -name '*.proto')
	@echo "Installing into $(VENV), which takes half a minute the first time …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9'
	@$(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[dev,semcache]'
	@touch $@
