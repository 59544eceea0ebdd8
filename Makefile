# make demo   the main job on a sample CRM          make test   the tests
# make up     everything, with URLs (Ctrl-C ends)   make check  lint, format, types
# make down   stop what `make up` started           make bench  speed, against a baseline of the same run
PYTHON ?= python3
PEOPLE ?= 20000
SMP = .venv/bin/python -m smp_pipelines.cli

.PHONY: setup demo up down test check bench lock clean

setup: .venv/ready

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch .venv/ready

demo: setup
	@$(SMP) demo --people $(PEOPLE)

up: setup
	@$(SMP) up

down: setup
	@$(SMP) down

test: setup
	.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(SMP) check

bench: setup
	.venv/bin/python -m bench

# needs uv; the lock file names no index, so that it works with anyone's
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-header --no-strip-extras -o requirements.txt

clean:
	rm -rf .venv .smp
