# The commands of the daily loop; `just` lists them.

_default:
    @just --list

# Lint, format, types, floors: what a commit must pass.
check:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# Mend what ruff can mend.
fix:
    ruff check --fix .
    ruff format .

# The fast tests, or those of a path or expression: `just test tests/unit/openset -k auroc`.
test *arguments:
    pytest {{ arguments }}

# Commands as processes, and the programs in export/.
e2e:
    pytest tests/e2e tests/clients

# The tests that take minutes.
slow:
    pytest -m slow

# Draw and write what documentation is made from the code, and build the site.
docs:
    python docs/scripts/architecture.py
    python docs/scripts/reference.py
    mkdocs build --strict
