"""Runs: from a recipe to a run folder, and a run folder read back."""
