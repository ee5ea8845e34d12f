"""The vendor style that nothing embedded is trained on, so that it can validate."""

HELD_OUT = ("fxemoji", "fxemoji-outline")
