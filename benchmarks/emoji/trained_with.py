"""Provenance of a run: a hash of all it comes from, so that no other run is taken for it."""

import hashlib
from functools import cache

from edgedistill.recipe import Recipe, to_toml
from edgedistill.students.weights import EMBEDDED_FOLDER


def content_key(recipe: Recipe) -> str:
    """Twelve hex digits of a recipe and of the weights that ship."""
    return hashlib.sha256((to_toml(recipe) + weights_key()).encode()).hexdigest()[:12]


@cache
def weights_key() -> str:
    """Eight hex digits of the embedded teacher and start weights."""
    digest = hashlib.sha256()
    for path in sorted(EMBEDDED_FOLDER.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
