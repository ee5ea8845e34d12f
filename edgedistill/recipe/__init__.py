"""Recipes: experiments described in TOML."""

from edgedistill.recipe.load import differences, load_recipe, resolve, to_toml
from edgedistill.recipe.schema import Recipe

__all__ = ["Recipe", "differences", "load_recipe", "resolve", "to_toml"]
