"""Measuring exported files on this machine: `edgedistill bench`."""
