"""Distil CLIP into small classifiers that know when to answer *unknown*."""

__version__ = "0.1.0"
