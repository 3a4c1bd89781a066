# Two commands matter: `make demo` certifies the bundled model, `make test` checks this repository.
# Both install into .venv first (with uv when it works here, with pip otherwise) and skip what is already there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Some tests hold a model: more processes would want more memory than a laptop has.
PYTEST_ARGS ?= -n logical --maxprocesses 4 --dist worksteal -m 'not real_apr and not llama and not browser'
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)

ifdef UV
  MAKE_VENV = uv venv --quiet --allow-existing --python '>=3.11' $(VENV)
  INSTALL = uv pip install --python $(BIN)/python
else
  MAKE_VENV = $(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Python %d.%d is too old, 3.11 or newer is needed; name one: make PYTHON=python3.12" % v[:2])' && $(PYTHON) -m venv $(VENV)
  INSTALL = $(BIN)/python -m pip install --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs docs-check benchmarks clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 14

demo: $(VENV)/.installed  ## install, then certify the bundled model models/tiny-qwen2
	@echo '+ pytest --playbook tiny-qwen2-mvp'
	@$(BIN)/python -m pytest --playbook tiny-qwen2-mvp

test: lint types docs-check  ## install with the test tools; run linter, type checker, docs check and all tests
	@echo '+ pytest $(PYTEST_ARGS)'
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-test  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test  ## mypy in strict mode on the package
	$(BIN)/mypy

docs: $(VENV)/.installed-test  ## write the generated pages of docs/ again
	$(BIN)/python docs/generate_plugin_reference.py
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python docs/generate_limits_page.py
	$(BIN)/python docs/generate_real_files.py
	$(BIN)/python docs/capture_demo.py

docs-check: $(VENV)/.installed-test  ## fail if a generated page is out of date (the demo's picture has a check of its own)
	$(BIN)/python docs/generate_plugin_reference.py --check
	$(BIN)/python docs/generate_reference.py --check
	$(BIN)/python docs/generate_limits_page.py --check
	$(BIN)/python docs/generate_real_files.py --check

benchmarks: $(VENV)/.installed-test  ## run the benchmarks; results go to benchmarks/results/
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/cli_startup.py
	$(BIN)/python benchmarks/collection.py
	$(BIN)/python benchmarks/reports.py
	$(BIN)/python benchmarks/formats.py
	$(BIN)/python benchmarks/numerics.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/process_per_scenario.py

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .tox .mypy_cache .ruff_cache .pytest_cache build dist

$(VENV)/.made:
	@echo '+ making the virtual environment $(VENV) with $(if $(UV),uv,$(PYTHON) -m venv)'
	@$(MAKE_VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	@echo '+ installing pytest-aprqa into $(VENV) with $(if $(UV),uv,pip) (PyTorch is large: the first time takes a while)'
	@$(INSTALL) --editable '.[parallel]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/.made
	@echo '+ installing pytest-aprqa with its test tools into $(VENV) with $(if $(UV),uv,pip)'
	@$(INSTALL) --editable '.[parallel,test,lint]'
	@touch $(VENV)/.installed $@
