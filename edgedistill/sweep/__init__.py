"""Sweeps: a grid of recipes, run by an engine, collected into one table."""
