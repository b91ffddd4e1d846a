# Two commands for newcomers: `make demo` and `make test`. The plain pip commands stand in README.md.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
FOR_DEMO = $(VENV)/.installed-demo
FOR_DEV = $(VENV)/.installed-dev

.PHONY: demo test check regression gate baseline bench gpu-pack gpu-check axe clean

demo: $(FOR_DEMO)
	$(BIN)/afrad-bench run suites/ablation_decoders.yaml --profile demo

test: check
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: $(FOR_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Rules of accessibility for the tests of the report's page; without them these tests are skipped.
axe:
	npm ci --prefix tests/browser --no-audit --no-fund

# A store of its own, made anew: results of earlier code must not stand in for this one's.
REGRESSION = results/regression
regression: $(FOR_DEV)
	rm -rf $(REGRESSION)
	$(BIN)/afrad-bench run suites/regression.yaml --store $(REGRESSION) --reports $(REGRESSION)/reports

gate: regression
	$(BIN)/afrad-bench gate reports/baselines/regression.json $(REGRESSION):regression

baseline: regression
	$(BIN)/afrad-bench gate reports/baselines/regression.json $(REGRESSION):regression \
		--update-baseline reports/baselines/regression.json

bench: $(FOR_DEV)
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

# What a bare machine with a card lacks, gathered here; then the check, there, with its own Python.
gpu-pack: $(FOR_DEV)
	$(BIN)/python benchmarks/gpu_check.py pack

OUT ?= reports/performance/gpu
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py run --out $(OUT)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(FOR_DEMO): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

$(FOR_DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) results
