# The commands of this project. Each one makes the environment it needs; set-up is skipped when nothing changed.
#
#   make demo    the main job on real text: fetch, fine-tune, compare, report (about ten minutes on two cores)
#   make test    every check: format, lint, types, layers, tests
#   make lint    the checks without the tests
#   make notebooks  runs the notebooks of the course without network and writes them in both languages
#   make bench   measurements beside other libraries; TABLES=encoder for one of them
#   make contract  pipelines beside those of transformers 4.57, which gets an environment of its own
#   make clean   removes the environment and what the commands wrote
#
# PYTHON=... chooses the interpreter the environment is made with (3.11 or newer); OUT=... the folder of the demo.

SHELL := /bin/sh
VENV := .venv
CONTRACT := .venv-transformers-4
TRANSFORMERS_4 := transformers==4.57.1 tokenizers==0.22.2 huggingface_hub==0.36.2
RUN := $(VENV)/bin/python
CONSTRAINTS ?= constraints.txt
OUT ?= runs/demo
TORCH := torch==2.13.0
PYTHON ?=
WORKERS ?= 2

PIP := $(RUN) -m pip install --disable-pip-version-check --no-input --no-compile --progress-bar off $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

# Installs $(1): one short line a package while it works, all that pip said when it fails.
define install
{ $(PIP) $(1) 2>&1 && echo "pip: done"; } | tee $(VENV)/install.log | while IFS= read -r line; do \
  case $$line in \
    Collecting*) line=$${line#Collecting }; echo "   $${line%% *}";; \
    "Installing collected"*) echo "   unpacking ...";; \
  esac; \
done; \
tail -n 1 $(VENV)/install.log | grep -q "^pip: done" || { tail -n 40 $(VENV)/install.log >&2; \
  echo "The installation failed; all of its output is in $(VENV)/install.log. Does \`$(RUN) -m pip config list\` name your package index?" >&2; exit 1; }
endef

# As many test processes as cores, each with one thread: more threads than cores only wait for one another.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 RAYON_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

.PHONY: help demo test lint format notebooks bench contract setup setup-dev constraints clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,11p'

demo: $(VENV)/.ready
	@$(RUN) -m moduformer demo --out "$(OUT)"

test: lint
	@echo "== notebooks"; $(RUN) notebooks/build.py fetch && $(RUN) notebooks/build.py run --jobs $(WORKERS)
	@echo "== tests ($(WORKERS) processes)"
	@$(ONE_THREAD) $(RUN) -m pytest -q -n $(WORKERS) --dist loadfile

lint: $(VENV)/.ready-dev
	@echo "== format"; $(RUN) -m ruff format --check .
	@echo "== lint"; $(RUN) -m ruff check .
	@echo "== types"; $(RUN) -m mypy
	@echo "== layers"; $(RUN) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

format: $(VENV)/.ready-dev
	@$(RUN) -m ruff format . && $(RUN) -m ruff check --fix .

# What the notebooks need from elsewhere is fetched first; nothing answers while they run.
notebooks: $(VENV)/.ready-dev
	@$(RUN) notebooks/build.py fetch
	@$(RUN) notebooks/build.py --jobs $(WORKERS)

bench: $(VENV)/.ready-bench
	@$(RUN) -m bench $(or $(TABLES),all)

contract: $(VENV)/.ready-dev $(CONTRACT)/.ready
	@echo "== pipelines beside those of $(firstword $(TRANSFORMERS_4))"
	@$(ONE_THREAD) MODUFORMER_TRANSFORMERS_4="$(abspath $(CONTRACT))/bin/python" $(RUN) -m pytest -q -m slow tests/contract

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(VENV)/.python:
	@set -e; \
	if $(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && $(RUN) -m pip --version >/dev/null 2>&1; \
	then touch $@; exit 0; fi; \
	for candidate in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3.14 python3 python); do \
	  if command -v "$$candidate" >/dev/null 2>&1 \
	     && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    found=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "moduformer needs Python 3.11 or newer, and $(if $(PYTHON),$(PYTHON) is not that,none was found (python3 is: $$(python3 --version 2>&1)))." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	echo "== making $(VENV) with $$("$$found" --version)"; \
	"$$found" -m venv --clear $(VENV) || { \
	  echo "\"$$found\" cannot make a virtual environment; on Debian and Ubuntu install the package python3-venv." >&2; \
	  rm -rf $(VENV); exit 1; }; \
	touch $@

# torch comes first and alone, so that the build the index offers for this machine is settled before anything asks for it.
$(VENV)/.torch: $(VENV)/.python
	@echo "== installing $(TORCH) (the largest part, 200 MB or more)"
	@$(call install,"$(TORCH)")
	@touch $@

$(VENV)/.ready: $(VENV)/.torch pyproject.toml $(CONSTRAINTS)
	@echo "== installing moduformer and what it needs (about 25 packages)"
	@$(call install,-e .)
	@$(RUN) -c 'import torch; print("== ready: torch", torch.__version__)'
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "== installing what the tests need (transformers to compare with, pytest, ruff, mypy ...)"
	@$(call install,-e ".[dev]")
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	@echo "== installing what the measurements need"
	@$(call install,-e ".[bench]")
	@touch $@

# transformers 4 asks for older tokenizers and huggingface_hub than the 5 of the other tests, so the two cannot share an
# environment. The rest is what the other tests have seen.
$(CONTRACT)/.ready: private PIP := $(CONTRACT)/bin/python -m pip install --disable-pip-version-check --no-input \
  --no-compile --progress-bar off -c $(CONTRACT)/constraints.txt
$(CONTRACT)/.ready: $(VENV)/.ready constraints.txt
	@echo "== making $(CONTRACT)"
	@$(RUN) -m venv --clear $(CONTRACT)
	@grep -v -i -E '^(transformers|tokenizers|huggingface_hub)==' constraints.txt > $(CONTRACT)/constraints.txt
	@echo "== installing $(TORCH) (the largest part, 200 MB or more)"
	@$(call install,"$(TORCH)")
	@echo "== installing $(TRANSFORMERS_4) and what it needs"
	@$(call install,$(TRANSFORMERS_4) sentencepiece protobuf)
	@touch $@

constraints: $(VENV)/.ready-dev
	@{ sed -n '/^#/p' constraints.txt; $(RUN) -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep '=='; } > constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) $(CONTRACT) runs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
