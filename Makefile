# Everything works in .venv at the root of the checkout. PYTHON picks the interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test slow benchmark lint format clean

demo: $(STAMP)
	$(BIN)/memo demo campaigns/demo

test: lint
	$(BIN)/pytest --durations=15 --durations-min=3

slow: $(STAMP)
	$(BIN)/pytest -m slow

benchmark: $(STAMP)
	$(BIN)/pytest -m benchmark -s tests/benchmarks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build *.egg-info

# The stamp is made anew when what is installed would change.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"memo needs Python 3.11 to 3.13, found {v[0]}.{v[1]}; name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)
