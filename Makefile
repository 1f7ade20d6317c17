# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo up test check format lock clean

help:  ## List the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("LayerPrune needs Python 3.11 or later, this is %s; name another with: make PYTHON=python3.12 ..." % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "Installing into $(VENV) (the first time takes some minutes and about 6 GB) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED)  ## Train, prune, fine-tune, measure and compare, for real, on this machine
	@$(BIN)/layerprune demo

up: $(INSTALLED)  ## Serve what the demo measured, and take new jobs
	@$(BIN)/layerprune up

test: $(INSTALLED)  ## Run all tests, a file at a time on each processor
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

check: $(INSTALLED)  ## Format, lint, strict types, import contracts, Python 3.8 syntax of the harness
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --target=3.8- --no-tips --violations --eval-annotations --no-parse-comments workers/harness

format: $(INSTALLED)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock:  ## Resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra server --extra onnxruntime --extra openvino --extra tensorrt-rtx --extra nvidia --extra build --extra dev --universal \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock

clean:  ## Remove the virtual environment and caches, not your data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
