# Two commands do everything: `make demo` and `make test`. Each sets up what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test statistics lint bench docs wheel clean browser
.DEFAULT_GOAL := demo

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable '.[dev]'
	touch $@

demo: $(READY)  ## the main job on real data: check, treat, check again, train both, report
	$(BIN)/evenflow demo

test: $(READY) browser  ## every test, in as many processes as there are cores
	$(BIN)/pytest --numprocesses auto --dist worksteal

statistics: $(READY)  ## a hundred million draws of every distribution
	$(BIN)/pytest -m statistics tests/statistics

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## speed beside the peers, as ratios
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

docs: $(READY)  ## the documentation as a site in build/site
	$(PIP_INSTALL) --editable '.[docs]'
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

wheel: $(READY)  ## build the wheel, and try it in a clean environment
	rm -rf dist build/clean
	$(BIN)/python -m build --wheel --outdir dist .
	$(PYTHON) -m venv build/clean
	build/clean/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		"evenflow[all] @ file://$(CURDIR)/$$(ls dist/*.whl)"
	.ci/try-wheel build/clean/bin

# The report is tested in a real browser. Debian's is used where it can be installed, elsewhere Playwright's own.
browser: $(READY)
	@if [ -n "$$EVENFLOW_CHROMIUM" ] || command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes chromium; } \
		|| $(BIN)/playwright install --with-deps chromium; \
	else $(BIN)/playwright install chromium; fi

clean:  ## everything that the other targets made
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache evenflow-demo.html
	find . -name __pycache__ -type d -exec rm -rf {} +
