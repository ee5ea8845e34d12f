"""Export of a finished run as one file for devices. Needs torch; the runtime does not."""
