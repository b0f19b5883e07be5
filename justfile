# Shortcuts; https://just.systems. `just` alone lists them.

default:
    @just --list

# Lint, format check, types, layer contracts.
check:
    uv run ruff check .
    uv run ruff format --check .
    uv run mypy
    uv run lint-imports
    uv run scripts/lint_scripts.sh
    uv run python scripts/docs_reference.py --check

# Secrets in the newest commit, known vulnerabilities of dependencies.
audit:
    uv run python scripts/audit.py secrets
    uv run python scripts/audit.py dependencies

# The tests, or those of a path: `just test tests/cli`.
test *arguments:
    uv run pytest {{ arguments }}

# The long tests.
test-slow *arguments:
    uv run pytest -m slow {{ arguments }}

# Plant known defects one by one and see that tests notice each; `just mutate --only 'data-*'`.
mutate *arguments:
    uv run python scripts/mutate.py {{ arguments }}

# Fix what can be fixed automatically, and regenerate the generated docs.
fix:
    uv run ruff check --fix .
    uv run ruff format .
    uv run python scripts/docs_reference.py

# Fine-tune the tiny model, before and after.
demo:
    uv run model-garden demo

# Screenshots of the documentation; needs rsvg-convert.
screenshots:
    uv run python scripts/screenshots.py

# Benchmarks that need no other trainer installed.
bench:
    uv run python benchmarks/dashboard.py
    uv run python benchmarks/startup.py
    uv run python benchmarks/data.py

# The documentation as a site at http://127.0.0.1:8000.
docs:
    uv run --group docs mkdocs serve
