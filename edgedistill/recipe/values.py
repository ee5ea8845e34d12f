"""Spellings of recipe values that TOML has no type for."""

import re
from fractions import Fraction

_NUMBER = re.compile(r"\d{1,9}(/\d{1,9}|\.\d{0,20})?")


def parse_hybridness(text: str) -> Fraction:
    """A hybridness from "0.25" or "1/6", in 0..1. Raises ValueError."""
    try:
        if not _NUMBER.fullmatch(text.strip()):
            raise ValueError
        value = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"must be a number or a fraction like 1/6, got {text!r}") from None
    if not 0 <= value <= 1:
        raise ValueError(f"must lie between 0 and 1, got {text}")
    return value
