"""Openness scores, a file each; importing the package imports no torch, a look-up does."""
