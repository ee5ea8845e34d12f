"""Wording shared by the errors about a name that does not exist."""

import difflib
from collections.abc import Sequence

_SHOWN = 20


def choices(name: str, allowed: Sequence[str]) -> str:
    """`did you mean 'x'? allowed: a, b, c`, the nearest name first, long lists cut."""
    near = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    more = f", ... ({len(allowed)} in all)" if len(allowed) > _SHOWN else ""
    return f"{hint}allowed: {', '.join(allowed[:_SHOWN])}{more}"
