# Two commands for a fresh machine: `make reproduce` and `make test`. Each makes the environment first.
# `make study STUDY=mine` builds params/mine.yaml, `make resume STUDY=mine` goes on after a killed run; without STUDY it is the default one.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3.11
STUDY ?= default
VENV := .venv
STAMP := $(VENV)/installed-from-lock
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PYTHONHASHSEED := 0
SNAKEMAKE := snakemake --cores all --use-conda
# A line a finished job, with what is left; the whole text goes to logs/snakemake.log.
PROGRESS := 2>&1 | python workflow/scripts/progress.py

.PHONY: env reproduce study smoke test test-slurm numerical lint bench resume

env: $(STAMP)

$(STAMP): requirements.lock requirements-demo.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	pip install --quiet --disable-pip-version-check -r requirements.lock
	pip install --quiet --disable-pip-version-check --no-deps -r requirements-demo.lock
	pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	python workflow/scripts/offline_plots_template.py
	touch $(STAMP)

reproduce: env
	$(SNAKEMAKE) reproduce_all $(PROGRESS)

study: env
	$(SNAKEMAKE) reproduce_all --config study=$(STUDY) $(PROGRESS)

smoke: env
	$(SNAKEMAKE) smoke $(PROGRESS)

# A file's tests share what they build, so a worker takes whole files, in the order of tests/conftest.py: the longest first.
PYTEST := pytest --durations 30 --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: env
	$(PYTEST)
	$(MAKE) numerical

# An optional suite: the Slurm profile with a real Slurm on this machine, which the operating system's packages bring.
test-slurm: env
	pytest -m slurm tests/workflow/test_slurm.py

# What compares numbers also holds with the fewest instructions of a processor and with all of them.
numerical: env
	for set in default native; do SEGCOMPASS_TEST_INSTRUCTIONS=$$set $(PYTEST) -m numerical || exit 1; done

lint: env
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	mypy

# Ratios against named alternatives, and growth, into docs/benchmarks.md; on an idle machine, or they say little.
bench: env
	python benchmarks/report.py

# After a killed run: frees Snakemake's lock; jobs left running are waited for by their restarted twins.
resume: env
	snakemake --unlock --config study=$(STUDY)
	$(SNAKEMAKE) reproduce_all --config study=$(STUDY) $(PROGRESS)
