# Two commands need nothing but Python and make: `make demo` and `make test`.
.PHONY: demo test check lint format bench dev demo-env clean requirements
PY = .venv/bin/python

dev:
	@scripts/setup.sh

demo-env:
	@scripts/setup.sh demo

demo: demo-env
	@.venv/bin/lanthorn demo --example examples/classify --assets build/assets --python .venv-demo/bin/python

# T=path picks tests, TESTS=pattern filters them.
test: demo-env
	@.venv/bin/pytest -n 2 $(T) $(if $(TESTS),-k "$(TESTS)")

lint: dev
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

check: lint test

format: dev
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

bench: demo-env
	@$(PY) -m bench

requirements: dev
	@.venv/bin/pip-compile -q --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --generate-hashes \
	    --strip-extras --allow-unsafe --extra dev -o requirements/dev.txt pyproject.toml
	@.venv/bin/pip-compile -q --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --generate-hashes \
	    --strip-extras --allow-unsafe -o requirements/runtime.txt pyproject.toml

clean:
	@rm -rf build dist .venv .venv-demo
