# Everything needs only GNU make, bash and Python >= 3.11. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first of these that is new enough makes .venv; `make PYTHON=/path/to/python3.12` to choose.
PYTHON ?= python3 python3.11 python3.12 python3.13
CORES ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
CONFIG ?= config/config.yaml
STUDY ?= demo
PYTEST_ARGS ?=
DOCS_ARGS ?=
LOCK_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
BUILD := $(VENV)/build.txt
LOCKS := requirements/lock.txt requirements/torch.txt
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
# Rules and tests that start `python` or `macrodyn` get those of .venv.
INSIDE := PATH="$(CURDIR)/$(BIN):$$PATH"
SNAKEMAKE := $(INSIDE) $(BIN)/snakemake --configfile $(CONFIG)
RESULTS := results/$(STUDY)
REPORT := $(RESULTS)/report.html

.PHONY: help install demo test docs lint format lock schema lowest wheel clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(READY) ## Make .venv with the locked packages and macrodyn.

# The stamp is written last: after a failure, or an interruption, .venv is made anew. The locked
# build tools come first, so that what has no wheel is built with them.
$(READY): $(LOCKS) pyproject.toml
	@if ! { [ -e $@ ] && $(BIN)/python -c '' 2>/dev/null; }; then \
	  for python in $(PYTHON); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "Making $(VENV) with $$("$$python" --version 2>&1)"; \
	      "$$python" -m venv --clear $(VENV) || { \
	        echo "error: $$python cannot make a virtual environment" \
	          "(on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }; \
	      made=yes; break; \
	    fi; \
	  done; \
	  if [ -z "$${made:-}" ]; then \
	    echo "error: macrodyn needs Python >= 3.11, and none of these is: $(PYTHON)" >&2; \
	    echo "       name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; \
	  fi; \
	fi
	@rm -f $@
	@echo "Installing the packages of requirements/lock.txt (about a minute)"
	@awk '/^[a-z]/ { wanted = /^(pip|setuptools|wheel)==/ } wanted' requirements/lock.txt >$(BUILD)
	@$(PIP) install --require-hashes --no-deps -r $(BUILD)
	@$(PIP) install --require-hashes --no-deps --no-build-isolation -r requirements/lock.txt
	@$(PIP) install -r requirements/torch.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check >/dev/null || { $(BIN)/python -m pip check; exit 1; }
	@touch $@

demo: $(READY) ## Run the quick study, build its report, print its results.
	@$(SNAKEMAKE) --cores $(CORES)
	@if [ ! -e $(REPORT) ] || \
	    [ -n "$$(find $(RESULTS) workflow/report -type f -newer $(REPORT) | head -n 1)" ]; then \
	  $(SNAKEMAKE) --report $(RESULTS)/report.part.html; \
	  mv $(RESULTS)/report.part.html $(REPORT); \
	fi
	@$(BIN)/macrodyn summary $(RESULTS)

# One process a core; two threads in each, so that results are seen not to depend on threads.
test: $(READY) ## Run the tests (PYTEST_ARGS="-m 'not slow'" for a part of them).
	@$(INSIDE) OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 \
	  $(BIN)/python -m pytest -n $(CORES) --dist worksteal $(PYTEST_ARGS)

# The tutorial is computed at the first build, in minutes; later ones take it from a cache, which
# knows its cells but not the package: make docs DOCS_ARGS="-E -D nb_execution_mode=force".
docs: $(READY) ## Build the documentation's site in docs/_build/html.
	@$(INSIDE) $(BIN)/python -m sphinx -q -W --keep-going docs docs/_build/html $(DOCS_ARGS)
	@echo "docs/_build/html/index.html"

lint: $(READY) ## Check style, types and the workflow.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(SNAKEMAKE) --lint

format: $(READY) ## Put the code in the project's format.
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow

# torch stays out (see requirements/torch.txt); what it needs is pinned like the rest. Packages whose
# later versions leave out some Python 3.11 are held back by requirements/python.txt. Pins are kept
# unless pyproject.toml forbids them: make lock LOCK_ARGS=--upgrade, or --upgrade-package=NAME.
lock: $(READY) ## Remake requirements/lock.txt from pyproject.toml.
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet pyproject.toml \
	  --extra atomistic --extra dev --extra docs --unsafe-package torch \
	  --constraint requirements/torch.txt --constraint requirements/python.txt \
	  --generate-hashes --strip-extras --no-emit-options \
	  --output-file requirements/lock.txt $(LOCK_ARGS)
	sed '/^# WARNING/,$$d' requirements/lock.txt | sed '$$ {/^$$/d;}' > requirements/lock.part
	mv requirements/lock.part requirements/lock.txt

schema: $(READY) ## Remake the configurations' JSON schemas from their models.
	$(BIN)/python -m macrodyn.config > workflow/schemas/config.schema.part
	mv workflow/schemas/config.schema.part workflow/schemas/config.schema.json
	$(BIN)/python -m macrodyn.config partial-forces > workflow/schemas/forces.schema.part
	mv workflow/schemas/forces.schema.part workflow/schemas/partial-forces.schema.json

# The wheel is built from the source distribution, so neither lacks what the other has.
wheel: $(READY) ## Build the source distribution and the wheel, in dist.
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

# What pyproject.toml allows at least; of torch the pin, whose other builds are gigabytes, unless
# one is given: make lowest TORCH=2.4.0.
TORCH ?= $(shell sed -n 's/^torch==//p' requirements/torch.txt)
# Not with an executor plugin with which no outage has been tried: that one is used as it is.
ONLY_LOCKED := test_the_installed_plugin_has_been_tried_and_takes_it
lowest: $(READY) ## Run the quick tests with the lowest versions allowed, in .venv-lowest.
	$(BIN)/python -m venv --clear .venv-lowest
	$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  extras = p["optional-dependencies"]; \
	  wanted = [*p["dependencies"], *extras["atomistic"], *extras["dev"]]; \
	  print(*(w.replace(">=", "==") for w in wanted if not w.startswith("torch")), sep="\n")' \
	  >.venv-lowest/pins.txt
	.venv-lowest/bin/python -m pip install -qq -r .venv-lowest/pins.txt torch==$(TORCH)
	.venv-lowest/bin/python -m pip install -qq --no-deps --no-build-isolation --editable .
	PATH="$(CURDIR)/.venv-lowest/bin:$$PATH" OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=2 \
	  .venv-lowest/bin/python -m pytest -n $(CORES) --dist worksteal -m "not slow and not slurm" \
	  --deselect tests/pipeline/test_slurm_patch.py::$(ONLY_LOCKED)

clean: ## Remove .venv, caches and build files; results stay.
	rm -rf $(VENV) .venv-lowest build dist docs/_build src/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
