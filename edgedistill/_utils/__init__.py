"""Helpers that know nothing of distillation: atomic files, the console, registries."""
