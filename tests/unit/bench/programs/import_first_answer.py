"""The package's modules that a cold start of the benchmark imports, and what it must not import."""

import sys

import edgedistill.bench.first_answer  # noqa: F401

print(*sorted(name for name in sys.modules if name.startswith("edgedistill")))
print(*(name for name in ("rich", "typer", "subprocess") if name in sys.modules))
