.DEFAULT_GOAL := help
.PHONY: help run quick test faults lint format typecheck hooks docs serve-docs package miniature evidence clean

VENV ?= .venv
PYTHON ?= python3.11 python3.13 python3.12 python3 # tried in this order; the first >= 3.11 is taken
EXP ?= resnet50_sip
ARGS ?=
JOBS ?= 2
BIN = $(VENV)/bin
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
PIP = $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: $(VENV)/.installed ## install into .venv and run the main job and its baseline (EXP=resnet50_sip, ARGS="seed=1 ...")
	$(BIN)/python -m sip.train +exp=$(EXP) $(ARGS)

quick: $(VENV)/.installed ## install into .venv and run every stage and a baseline, tiny (20 seconds on 2 cores)
	$(BIN)/python -m sip.train +exp=quick $(ARGS)

test: $(VENV)/.installed-test ## install the test extras and run the whole test suite (ARGS="-k digits")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

faults: $(VENV)/.installed-test ## break things on purpose and report what happens (ARGS="quick" or "output=experiments/trust/faults.md")
	OMP_NUM_THREADS=1 $(BIN)/python -m experiments.trust.faults $(ARGS)

lint: $(VENV)/.installed-dev ## check style and form with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## fix style and form with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(VENV)/.installed-dev ## check the types of sip/ with mypy
	$(BIN)/mypy

hooks: $(VENV)/.installed-dev ## run lint, form, types and the mirror of conf before each commit
	$(BIN)/pre-commit install

docs: $(VENV)/.installed-docs ## build the documentation into site/, strictly and without network
	$(MKDOCS) build --strict $(ARGS)

serve-docs: $(VENV)/.installed-docs ## show the documentation at 127.0.0.1:8000 while it is written
	$(MKDOCS) serve $(ARGS)

package: $(VENV)/.installed-dev ## build wheel and source distribution into dist/ and check them with twine
	$(BIN)/hatchling build -d dist
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz

miniature: $(VENV)/.installed ## train the miniature models again (up to 90 minutes on 2 cores)
	$(BIN)/python -m sip.stack.build folder=sip/miniature $(ARGS)

evidence: $(VENV)/.installed-test ## make every experiment's runs, tables, figures and reports (3 hours on 2 cores; resumes)
	PYTHON=$(BIN)/python experiments/evidence.sh

clean: ## remove the virtual environment and what the tools cache (not store/, runs/ or data/)
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
	find sip tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@for python in $(PYTHON); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$($$python --version)"; exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "make: expected Python >= 3.11 with venv, found none among: $(PYTHON); install one, or name it: make run PYTHON=/path/to/python" >&2; exit 1

# One stamp a set of extras: nothing is installed twice, and a change of the pins installs again.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV) (several GB with torch; once)"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP) -e '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) -e '.[docs]'
	@touch $@
